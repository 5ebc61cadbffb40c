"""A volume as an OME-Zarr 0.5 folder, whatever its format in the store."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorstore as ts

from biosegment.client.geometry import BlockGrid, Box, shape_of
from biosegment.runtime import ome_zarr
from biosegment.runtime.arrays import VolumeArray


def write(volume: VolumeArray, path: Path, progress: Callable[[int, int], None]) -> int:
    """Copies every level, write unit by write unit, then the metadata.

    Args:
        volume: The volume.
        path: The folder to make.
        progress: Called with (units done, units in all); may raise to stop.

    Returns:
        Bytes on disk.
    """
    levels = volume.volume.levels
    grids = [
        BlockGrid(Box.of_shape(shape_of(level.shape), n), shape_of(level.write_unit))
        for n, level in enumerate(levels)
    ]
    total, done = sum(len(grid) for grid in grids), 0
    for n, grid in enumerate(grids):
        target = _create(volume, path, n)
        for box in grid:
            target[(..., *box.slices)].write(volume.read(box)).result()
            done += 1
            progress(done, total)
    title = volume.volume.name.rpartition("/")[2]
    attributes = {"ome": ome_zarr.multiscale_attributes(volume.volume, title)}
    (path / ome_zarr.GROUP_KEY).write_bytes(ome_zarr.group_document(attributes))
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _create(volume: VolumeArray, path: Path, level: int) -> Any:
    kvstore = {"driver": "file", "path": f"{path}/{level}/"}
    spec = ome_zarr.array_spec(kvstore, volume.volume, level)
    return ts.open(spec, create=True).result()
