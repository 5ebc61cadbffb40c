"""From pages to write units: slabs of pages, in memory or on disk, written unit by unit."""

import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import BlockGrid, Box, shape_of
from biosegment.runtime.arrays import VolumeArray

_MEMORY_BYTES = 256 << 20


def write_pages(
    volume: VolumeArray,
    pages: Iterator[NDArray[Any]],
    progress: Callable[[int, int], None],
    *,
    memory_bytes: int = _MEMORY_BYTES,
) -> None:
    """Writes pages to level 0. Each write unit is written once, whole.

    Args:
        volume: Axes ZYX.
        pages: As many pages as the volume has sections, axes YX.
        progress: Called with (pages done, pages in all) for each page read and unit written; may
            raise to stop.
        memory_bytes: A slab larger than this is kept in a temporary file.

    Raises:
        InvalidArgumentError: There are fewer pages than sections.
    """
    depth, height, width = volume.shape()
    unit = shape_of(volume.volume.levels[0].write_unit)
    for start in range(0, depth, unit[0]):
        stop = min(start + unit[0], depth)
        with tempfile.TemporaryFile() as spill:
            slab = _buffer((stop - start, height, width), volume.dtype, spill, memory_bytes)
            read = 0
            for read, page in enumerate(islice(pages, stop - start), 1):
                slab[read - 1] = page
                progress(start, depth)
            if read < stop - start:
                raise InvalidArgumentError(f"Only {start + read} of {depth} pages could be read.")
            whole = Box((start, 0, 0), (stop, height, width))
            for box in BlockGrid(whole, unit):
                volume.write(box, np.ascontiguousarray(slab[box.relative_to(whole.start).slices]))
                progress(start, depth)
            del slab
    progress(depth, depth)


def _buffer(
    shape: tuple[int, int, int], dtype: np.dtype[np.generic], spill: Any, memory_bytes: int
) -> NDArray[Any]:
    if prod(shape) * dtype.itemsize <= memory_bytes:
        return np.empty(shape, dtype)
    return np.memmap(spill, dtype, "w+", shape=shape)


def read_pages(volume: VolumeArray, *, memory_bytes: int = _MEMORY_BYTES) -> Iterator[NDArray[Any]]:
    """Yields the sections of level 0, axes YX, reading as many chunks deep as memory allows."""
    depth, height, width = volume.shape()
    chunk = volume.volume.levels[0].chunk.z
    section = height * width * volume.dtype.itemsize
    step = min(chunk, max(1, memory_bytes // section))
    for start in range(0, depth, step):
        stop = min(start + step, depth)
        yield from volume.read(Box((start, 0, 0), (stop, height, width)))
