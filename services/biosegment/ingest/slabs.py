"""From pages to write units and back."""

import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import BlockGrid, Box, shape_of
from biosegment.runtime.arrays import VolumeArray

_MEMORY_BYTES = 256 << 20


def write_pages(
    volume: VolumeArray, pages: Iterator[NDArray[Any]], progress: Callable[[int, int], None]
) -> None:
    """Writes pages to level 0. Each write unit is written once, whole.

    The pages that one layer of write units needs are kept in a temporary file, since they may be
    many times larger than memory; a page and a write unit are all that is held.

    Args:
        volume: Axes ZYX.
        pages: As many pages as the volume has sections, axes YX.
        progress: Called with (pages done, pages in all) for each page read and unit written; may
            raise to stop.

    Raises:
        InvalidArgumentError: There are fewer pages than sections.
    """
    depth, height, width = volume.shape()
    unit = shape_of(volume.volume.levels[0].write_unit)
    for start in range(0, depth, unit[0]):
        layer = Box((start, 0, 0), (min(start + unit[0], depth), height, width))
        with tempfile.TemporaryFile() as spill:
            read = 0
            for page in islice(pages, layer.shape[0]):
                spill.write(np.ascontiguousarray(page, volume.dtype).data)
                read += 1
                progress(start, depth)
            if read < layer.shape[0]:
                raise InvalidArgumentError(f"Only {start + read} of {depth} pages could be read.")
            spill.flush()
            for box in BlockGrid(layer, unit):
                # Mapped anew for each unit, so that no more than its pages become resident.
                slab = np.memmap(spill, volume.dtype, "r", shape=layer.shape)
                volume.write(box, np.array(slab[box.relative_to(layer.start).slices]))
                del slab
                progress(start, depth)
    progress(depth, depth)


def read_pages(volume: VolumeArray, *, memory_bytes: int = _MEMORY_BYTES) -> Iterator[NDArray[Any]]:
    """Yields the sections of level 0, axes YX, reading as many chunks deep as memory allows."""
    depth, height, width = volume.shape()
    chunk = volume.volume.levels[0].chunk.z
    section = height * width * volume.dtype.itemsize
    step = min(chunk, max(1, memory_bytes // section))
    for start in range(0, depth, step):
        stop = min(start + step, depth)
        yield from volume.read(Box((start, 0, 0), (stop, height, width)))
