"""What finding candidates in the uncertainty volume of a large data set takes.

Makes the upper levels of the entropy pyramid of a data set that is larger than memory (those below
the one that the search reads are never written, and never read), searches it as a rank job does,
and looks at every patch of the grid for comparison. The last line is one JSON object.
"""

import argparse
import asyncio
import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.acquisition.coarse_to_fine import BLOCKS, FRONTIER, Found, Level, Search
from biosegment.client.connection import Connection
from biosegment.client.geometry import ZYX, BlockGrid, Box, shape_of, shape_proto
from biosegment.client.stubs import AsyncStubs, SyncStubs
from biosegment.runtime.arrays import VolumeArray, reduced
from biosegment.runtime.server import Server
from biosegment.storage import start
from biosegment.storage.servicer import StorageServicer
from biosegment.storage.store import Store
from biosegment.storage.volumes import Volumes
from biosegment.v1 import storage_pb2, storage_pb2_grpc, types_pb2

NAME = "projects/p/volumes/unsure"
PATCH: ZYX = (1, 128, 128)
VOXEL = types_pb2.VoxelSize(z=40.0, y=4.0, x=4.0)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--shape", default="128,16384,16384", help="z,y,x of the data set")
    arguments.add_argument("--candidates", type=int, default=2000)
    arguments.add_argument("--frontier", type=int, default=FRONTIER)
    arguments.add_argument("--blocks", type=int, default=BLOCKS)
    given = arguments.parse_args()
    z, y, x = (int(n) for n in given.shape.split(","))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_with_storage(Path(folder), (z, y, x), given))


async def _with_storage(folder: Path, shape: ZYX, given: argparse.Namespace) -> None:
    store = Store.of_folder(folder)
    server = Server("127.0.0.1:0", "token")
    server.add(
        storage_pb2_grpc.add_StorageServiceServicer_to_server,
        StorageServicer(store, Volumes(store), await start.probe(store)),
        "biosegment.v1.StorageService",
    )
    await server.start()
    connection = Connection(token="token", addresses={"*": f"127.0.0.1:{server.port}"})
    volume = storage_pb2.Volume(
        name=NAME,
        kind=storage_pb2.VOLUME_KIND_IMAGE,
        data_type=types_pb2.DATA_TYPE_FLOAT32,
        voxel_size=VOXEL,
        levels=[storage_pb2.VolumeLevel(shape=shape_proto(shape))],
    )
    async with AsyncStubs(connection) as stubs:
        await stubs.storage.CreateVolume(storage_pb2.CreateVolumeRequest(volume=volume))
        print(json.dumps(await asyncio.to_thread(_measure, connection, shape, given)))
    await server.stop(0)


def _measure(connection: Connection, shape: ZYX, given: argparse.Namespace) -> dict[str, Any]:
    with SyncStubs(connection) as stubs:
        array = VolumeArray.open(stubs, NAME)
        described = array.volume.levels
        levels = [
            Level(shape_of(level.downsampling), shape_of(level.shape), shape_of(level.chunk))
            for level in described
        ]
        home = max(
            n
            for n, level in enumerate(levels)
            if all(p % f == 0 for p, f in zip(PATCH, level.factors, strict=True))
        )
        began = time.perf_counter()
        _fill(array, home)
        print(f"made levels {home} to {len(levels) - 1} in {time.perf_counter() - began:.1f} s")
        # In a process of its own, so that its memory is that of the search.
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            task = process.submit(_search, connection, levels, shape, given)
            found, seconds, grown = task.result()
        began = time.perf_counter()
        means = _every(array, home)
        full_seconds = time.perf_counter() - began
    best = np.sort(means.reshape(-1))[::-1][: given.candidates]
    met = int((found.means >= best[-1] - 1e-6).sum())
    return {
        "shape": shape,
        "voxels": int(np.prod(shape)),
        "candidates": len(found.boxes),
        "seconds": round(seconds, 2),
        "memory_grown_mib": round(grown / 2**20),
        "voxels_read": found.voxels_read,
        "read_fraction_of_level_0": found.voxels_read / int(np.prod(shape)),
        "exact": found.exact,
        "among_the_truly_best": met / given.candidates,
        "mean_ratio": round(float(found.means.mean() / best.mean()), 4),
        "every_patch_seconds": round(full_seconds, 2),
        "every_patch_voxels": int(np.prod(levels[home].shape)),
        "ratio_to_every_patch": round(seconds / full_seconds, 3),
        "frontier": given.frontier,
        "blocks": given.blocks,
    }


def _search(
    connection: Connection, levels: list[Level], shape: ZYX, given: argparse.Namespace
) -> tuple[Found, float, int]:
    """What was found, the seconds that it took, and the bytes by which memory grew."""
    with SyncStubs(connection) as stubs:
        array = VolumeArray.open(stubs, NAME)
        before = _peak()
        began = time.perf_counter()
        limits = {"frontier": given.frontier, "blocks": given.blocks}
        search = Search(levels, array.read, Box.of_shape(shape), PATCH, **limits)
        found = search.best(given.candidates)
        return found, time.perf_counter() - began, _peak() - before


def _fill(array: VolumeArray, home: int) -> None:
    """Entropy as trained networks have it: low noise, and bright rims of some thousand bodies."""
    level = array.volume.levels[home]
    shape = shape_of(level.shape)
    rng = np.random.default_rng(0)
    for box in BlockGrid(Box.of_shape(shape, home), shape_of(level.write_unit)):
        unit = rng.gamma(0.3, 0.05, box.shape).astype(np.float32)
        for _ in range(max(1, box.voxels // 40_000)):
            z, y, x = (int(rng.integers(n)) for n in box.shape)
            unit[z : z + 3, y : y + 12, x : x + 12] += 0.5 * rng.random()
        array.write(box, np.minimum(unit, 0.69))
    for n in range(home + 1, len(array.volume.levels)):
        described = array.volume.levels[n]
        for box in BlockGrid(
            Box.of_shape(shape_of(described.shape), n), shape_of(described.write_unit)
        ):
            array.write(box, reduced(array, box))


def _every(array: VolumeArray, home: int) -> NDArray[np.float64]:
    """The mean of every patch of the grid, section by section."""
    level = array.volume.levels[home]
    factors, shape = shape_of(level.downsampling), shape_of(level.shape)
    rows, columns = (p // f for p, f in zip(PATCH[1:], factors[1:], strict=True))
    made = []
    for z in range(0, shape[0], 16):
        slab = array.read(Box((z, 0, 0), (min(z + 16, shape[0]), *shape[1:]), home))
        count, height, width = len(slab), shape[1] // rows, shape[2] // columns
        slab = slab[:, : height * rows, : width * columns].astype(np.float64)
        made.append(slab.reshape(count, height, rows, width, columns).mean(axis=(2, 4)))
    return np.concatenate(made)


def _peak() -> int:
    """The most memory that this process has had resident, in bytes; Linux only."""
    # Not ru_maxrss, which a process inherits from the one that started it.
    line = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
