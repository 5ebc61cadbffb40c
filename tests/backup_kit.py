"""A home with a real record and a real store in it, without the processes of a platform."""

import asyncio
import hashlib
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from biosegment.cli.up.home import Home
from biosegment.storage import start
from biosegment.storage.store import Store
from biosegment.storage.volumes import Volumes
from biosegment.v1 import jobs_pb2, storage_pb2, types_pb2
from tests.registry.record_kit import DATASET, PROJECT, SHAPE, Record, open_record

WEIGHTS = f"{PROJECT}/objects/models/m/train.safetensors"
RAW, LABELS = f"{PROJECT}/volumes/d", f"{PROJECT}/volumes/d-labels"


@dataclass
class Stock:
    """A home: its record behind a server, its store as the storage service has it."""

    home: Home
    record: Record
    store: Store
    volumes: Volumes

    async def volume(
        self, name: str, value: int = 1, *, finish: bool = True, fill: int = 0
    ) -> None:
        """Makes a volume that holds one value."""
        shape = types_pb2.Shape(z=SHAPE[0], y=SHAPE[1], x=SHAPE[2])
        asked = storage_pb2.Volume(
            name=name,
            kind=storage_pb2.VOLUME_KIND_IMAGE,
            data_type=types_pb2.DATA_TYPE_UINT8,
            voxel_size=types_pb2.VoxelSize(z=50, y=4.6, x=4.6),
            levels=[storage_pb2.VolumeLevel(shape=shape)],
            fill_value=fill,
        )
        made = await self.volumes.create(asked, f"make-{name}-{value}", replace_unfinished=True)
        level = await self.volumes.open_level(made, 0)
        await level.write(np.full(SHAPE, value, np.uint8))
        if finish:
            await self.volumes.finish(name)

    async def train(self, data: bytes = b"weights") -> None:
        """Stores weights, and records the version that has them."""
        await self.store.write("p/objects/models/m/train.safetensors", data)
        await self.record.apply(
            "train",
            jobs_pb2.TrainResult(weights=WEIGHTS, sha256=hashlib.sha256(data).hexdigest()),
            train_spec=jobs_pb2.TrainSpec(model=f"{PROJECT}/models/m", dataset=DATASET),
        )

    def files(self) -> dict[str, bytes]:
        """Every file of the store, but for what it knows of itself."""
        return files(self.home.store)


@asynccontextmanager
async def stock(folder: Path) -> AsyncIterator[Stock]:
    """A home with a data set of 4 × 32 × 32 voxels, its view of the log, and a trained model."""
    home = Home(folder)
    os.mkdir(folder)  # noqa: PTH102 - quick, and the linter knows no other way in a coroutine
    async with open_record(folder, "registry.sqlite") as record:
        store = Store.of_folder(home.store)
        await start.probe(store)
        made = Stock(home, record, store, Volumes(store))
        await record.seed()
        await made.volume(RAW, 7)
        await made.volume(LABELS, 1, fill=255)
        await made.train()
        yield made


def files(store: Path) -> dict[str, bytes]:
    """Every file below a folder, but for what a store knows of itself."""
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and ".biosegment" not in path.parts
    }


def rows(record: Path, query: str) -> list[tuple[Any, ...]]:
    """What a record says."""
    with closing(sqlite3.connect(f"{record.as_uri()}?mode=ro", uri=True)) as opened:
        return opened.execute(query).fetchall()


async def off_loop(call: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls something that blocks, while the servers of the record go on."""
    return await asyncio.to_thread(call, *args, **kwargs)
