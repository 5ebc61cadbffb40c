"""Where tiles lie, so that a blocked result equals that of whole sections.

The reference is the network run on a whole section, padded at its far ends up to a
multiple of the network's stride (by reflection; a single row or column is repeated).
A tile reads its core and a halo, clipped to the padded section and aligned to the
stride. The halo is no smaller than the receptive field, so pixels that the tile's own
zero padding reaches are all outside its core, except at the edges of the padded
section, where the reference pads at the same places.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.geometry import ZYX, Box


@dataclass(frozen=True, slots=True)
class Span:
    """One axis of a tile, in pixels of the section.

    Attributes:
        start: First pixel that the network sees, a multiple of the stride.
        stop: First pixel after those, a multiple of the stride; may lie beyond the section.
        core_start: First pixel that is kept.
        core_stop: First pixel after those.
    """

    start: int
    stop: int
    core_start: int
    core_stop: int

    @property
    def size(self) -> int:
        """Pixels that the network sees."""
        return self.stop - self.start

    @property
    def core(self) -> slice:
        """The kept pixels, counted from the first that the network sees."""
        return slice(self.core_start - self.start, self.core_stop - self.start)


def _span(core_start: int, core_stop: int, extent: int, halo: int, stride: int) -> Span:
    padded = -(-extent // stride) * stride
    start = max(0, (core_start - halo) // stride * stride)
    stop = min(padded, -(-(core_stop + halo) // stride) * stride)
    return Span(start, stop, core_start, core_stop)


def spans(start: int, stop: int, *, extent: int, halo: int, stride: int, window: int) -> list[Span]:
    """Cuts an interval into the spans of tiles.

    Args:
        start: First pixel wanted.
        stop: First pixel after those.
        extent: Pixels of the section along this axis.
        halo: Of the network.
        stride: Of the network.
        window: Pixels that the network should see at most; exceeded where halo and stride demand.
    """
    whole = _span(start, stop, extent, halo, stride)
    if whole.size <= window:
        return [whole]
    room = max(stride, (window - 2 * halo) // stride * stride - stride)
    pieces = -(-(stop - start) // room)
    core = -(-(stop - start) // (pieces * stride)) * stride
    # Inner borders lie on the stride, so that alignment costs nothing there.
    borders = [start, *range(start // stride * stride + core, stop, core), stop]
    return [_span(a, b, extent, halo, stride) for a, b in pairwise(borders)]


def input_box(box: Box, shape: ZYX, *, halo: int, stride: int) -> Box:
    """The raw voxels that predicting a box needs.

    Args:
        box: The voxels wanted.
        shape: Extent of the volume.
        halo: Of the network.
        stride: Of the network; alignment may widen a tile by less than one.
    """
    (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
    margin = halo + stride
    return Box(
        (z0, max(0, y0 - margin), max(0, x0 - margin)),
        (z1, min(shape[1], y1 + margin), min(shape[2], x1 + margin)),
    )


@dataclass(frozen=True, slots=True)
class Tile:
    """Some sections of one tile.

    Attributes:
        z: Sections, counted in the volume.
        y: Rows.
        x: Columns.
    """

    z: slice
    y: Span
    x: Span


def tiles(box: Box, *, shape: ZYX, halo: int, stride: int, forward_pixels: int) -> Iterator[Tile]:
    """The tiles of a box, sections outermost; every voxel of the box is in one core.

    Args:
        box: The voxels wanted.
        shape: Extent of the volume.
        halo: Of the network.
        stride: Of the network.
        forward_pixels: Pixels, all sections together, in one forward; exceeded where a single
            tile of the smallest size is larger.
    """
    window = isqrt(forward_pixels) // stride * stride
    common = {"halo": halo, "stride": stride, "window": window}
    rows = spans(box.start[1], box.stop[1], extent=shape[1], **common)
    columns = spans(box.start[2], box.stop[2], extent=shape[2], **common)
    largest = max(row.size for row in rows) * max(column.size for column in columns)
    sections = max(1, forward_pixels // largest)
    for z in range(box.start[0], box.stop[0], sections):
        for row in rows:
            for column in columns:
                yield Tile(slice(z, min(z + sections, box.stop[0])), row, column)


def cut(raw: NDArray[Any], origin: ZYX, shape: ZYX, tile: Tile) -> NDArray[Any]:
    """What the network sees of a tile.

    Args:
        raw: Voxels, axes ZYX.
        origin: Where ``raw`` begins in the volume.
        shape: Extent of the volume.
        tile: The tile; ``raw`` covers its part of the volume.

    Returns:
        Axes ZYX, padded by reflection where the tile reaches beyond the volume.
    """
    part = raw[
        tile.z.start - origin[0] : tile.z.stop - origin[0],
        tile.y.start - origin[1] : min(tile.y.stop, shape[1]) - origin[1],
        tile.x.start - origin[2] : min(tile.x.stop, shape[2]) - origin[2],
    ]
    missing = (tile.y.size - part.shape[1], tile.x.size - part.shape[2])
    return pad_far(part, missing)


def pad_far(array: NDArray[Any], missing: tuple[int, int]) -> NDArray[Any]:
    """Reflects rows and columns (y, x) at the far ends; a single one is repeated."""
    if missing == (0, 0):
        return array
    return np.pad(array, ((0, 0), (0, missing[0]), (0, missing[1])), mode="reflect")
