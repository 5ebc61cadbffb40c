"""An in-process storage service, on a temporary folder unless told otherwise, and real stubs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from biosegment.client.connection import Connection
from biosegment.client.stubs import AsyncStubs
from biosegment.runtime.server import Server
from biosegment.storage import start
from biosegment.storage.servicer import StorageServicer
from biosegment.storage.store import Store
from biosegment.storage.volumes import Volumes
from biosegment.v1 import storage_pb2, storage_pb2_grpc, types_pb2


@dataclass
class Platform:
    store: Store
    volumes: Volumes
    stubs: AsyncStubs
    connection: Connection

    @property
    def folder(self) -> Path:
        return Path(self.store.spec("")["path"])


@asynccontextmanager
async def serving(store: Store) -> AsyncIterator[Platform]:
    volumes = Volumes(store)
    server = Server("127.0.0.1:0", "token")
    server.add(
        storage_pb2_grpc.add_StorageServiceServicer_to_server,
        StorageServicer(store, volumes, await start.probe(store)),
        "biosegment.v1.StorageService",
    )
    await server.start()
    connection = Connection(token="token", addresses={"*": f"127.0.0.1:{server.port}"})
    async with AsyncStubs(connection) as stubs:
        yield Platform(store, volumes, stubs, connection)
    await server.stop(0)


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    async with serving(Store.of_folder(tmp_path / "store")) as made:
        yield made


@pytest.fixture
def describe():
    def describe(
        name: str = "projects/p/volumes/v",
        shape: tuple[int, int, int] = (40, 300, 600),
        *,
        kind: int = storage_pb2.VOLUME_KIND_IMAGE,
        dtype: int = types_pb2.DATA_TYPE_UINT8,
        voxel_size: tuple[float, float, float] = (50.0, 4.6, 4.6),
        **more,
    ) -> storage_pb2.Volume:
        volume = storage_pb2.Volume(name=name, kind=kind, data_type=dtype, **more)
        volume.voxel_size.z, volume.voxel_size.y, volume.voxel_size.x = voxel_size
        volume.levels.add(shape=types_pb2.Shape(z=shape[0], y=shape[1], x=shape[2]))
        return volume

    return describe
