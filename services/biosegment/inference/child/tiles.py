"""Where tiles lie, so that a blocked result equals that of the whole volume at once.

The reference is the network run on the whole volume, padded at its far ends up to a multiple of
the network's stride (by reflection; what is a single voxel wide is repeated), and by the
network's neighbours at both ends of z (in the same way). For a network of single sections that is
every section by itself. A tile reads its core and a halo, clipped to the padded volume and
aligned to the stride. The halo is no smaller than the receptive field, so voxels that the tile's
own zero padding reaches are all outside its core, except at the faces of the padded volume, where
the reference pads at the same places. Where a network looks at all of a section, so does each
tile.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod
from typing import Any

from numpy.typing import NDArray

from biosegment.client.geometry import ZYX, Box
from biosegment.nets.footprint import Footprint
from biosegment.nets.padding import reflected

_SHEET: ZYX = (16, 1024, 1024)
_BRICK: ZYX = (64, 512, 512)


@dataclass(frozen=True, slots=True)
class Span:
    """One axis of a tile, in voxels of the volume.

    Attributes:
        start: First voxel that the network sees, a multiple of the stride.
        stop: First voxel after those, a multiple of the stride; may lie beyond the volume.
        core_start: First voxel that is kept.
        core_stop: First voxel after those.
    """

    start: int
    stop: int
    core_start: int
    core_stop: int

    @property
    def size(self) -> int:
        """Voxels that the network sees."""
        return self.stop - self.start

    @property
    def core(self) -> slice:
        """The kept voxels, counted from the first that the network sees."""
        return slice(self.core_start - self.start, self.core_stop - self.start)


def _span(start: int, stop: int, extent: int, halo: int, stride: int) -> Span:
    padded = -(-extent // stride) * stride
    first = max(0, (start - halo) // stride * stride)
    last = min(padded, -(-(stop + halo) // stride) * stride)
    return Span(first, last, start, stop)


def cuts(start: int, stop: int, *, extent: int, halo: int, stride: int) -> Iterator[list[Span]]:
    """The ways to cut an interval into the spans of tiles, into more and more of them.

    Args:
        start: First voxel wanted.
        stop: First voxel after those.
        extent: Voxels of the volume along this axis.
        halo: Of the network along this axis.
        stride: Of the network along this axis.
    """
    yield [_span(start, stop, extent, halo, stride)]
    # With a halo as large as the volume every tile would see all of it.
    if halo >= extent:
        return
    # Inner borders lie on the stride, so that alignment costs nothing there.
    first = start // stride
    cells = -(-stop // stride) - first
    sizes = sorted({-(-cells // pieces) for pieces in range(2, cells + 1)}, reverse=True)
    for size in sizes:
        inner = range((first + size) * stride, stop, size * stride)
        borders = [start, *inner, stop]
        yield [_span(a, b, extent, halo, stride) for a, b in pairwise(borders)]


def input_box(box: Box, shape: ZYX, footprint: Footprint) -> Box:
    """The raw voxels that predicting a box needs.

    Args:
        box: The voxels wanted.
        shape: Extent of the volume.
        footprint: Of the network.
    """
    margin = footprint.margin(shape)
    z0, y0, x0 = (max(0, a - m) for a, m in zip(box.start, margin, strict=True))
    z1, y1, x1 = (min(n, b + m) for b, n, m in zip(box.stop, shape, margin, strict=True))
    return Box((z0, y0, x0), (z1, y1, x1))


def usual_block(footprint: Footprint, shape: ZYX) -> ZYX:
    """Extent of what to hold in memory at a time of a larger box: 16 mebivoxels without margins.

    Args:
        footprint: Of the network. One that sees volumes gets thicker blocks, since its halo in z
            counts most; one that sees whole sections gets whole ones.
        shape: Extent of the volume.
    """
    if not footprint.local:
        return max(1, prod(_SHEET) // (shape[1] * shape[2])), shape[1], shape[2]
    return _SHEET if footprint.sectionwise else _BRICK


@dataclass(frozen=True, slots=True)
class Tile:
    """What one forward sees, and what of that is kept.

    Attributes:
        z: Sections.
        y: Rows.
        x: Columns.
    """

    z: Span
    y: Span
    x: Span

    @property
    def axes(self) -> tuple[Span, Span, Span]:
        """The spans in axis order."""
        return self.z, self.y, self.x

    def place_in(self, box: Box) -> tuple[slice, slice, slice]:
        """Where its core lies in an array of a box."""
        z, y, x = (
            slice(span.core_start - begin, span.core_stop - begin)
            for span, begin in zip(self.axes, box.start, strict=True)
        )
        return z, y, x


def tiles(box: Box, *, shape: ZYX, footprint: Footprint, forward_pixels: int) -> Iterator[Tile]:
    """The tiles of a box, sections outermost; every voxel of the box is in one core.

    Of all ways to cut the box evenly that fit a forward, those that show the network least.

    Args:
        box: The voxels wanted.
        shape: Extent of the volume.
        footprint: Of the network.
        forward_pixels: Pixels, those of all sections, in one forward; exceeded where a tile of the
            smallest size has more.
    """
    ways = [
        [_Way(spans) for spans in cuts(a, b, extent=n, halo=halo, stride=stride)]
        for a, b, n, halo, stride in zip(
            box.start, box.stop, shape, footprint.halo_in(shape), footprint.stride, strict=True
        )
    ]
    best = min(product(*ways), key=lambda way: _cost(way, forward_pixels))
    return (Tile(*place) for place in product(*(way.spans for way in best)))


class _Way:
    """One axis cut into spans."""

    def __init__(self, spans: list[Span]) -> None:
        self.spans = spans
        self.shown = sum(span.size for span in spans)
        self.largest = max(span.size for span in spans)


def _cost(axes: tuple[_Way, ...], voxels: int) -> tuple[int, int, int]:
    """What is too much in one forward, then what all of them show, then how many they are."""
    z, y, x = axes
    largest = z.largest * y.largest * x.largest
    tiles = len(z.spans) * len(y.spans) * len(x.spans)
    return max(0, largest - voxels), z.shown * y.shown * x.shown, tiles


def cut(raw: NDArray[Any], origin: ZYX, shape: ZYX, tile: Tile, neighbours: int) -> NDArray[Any]:
    """What the network sees of a tile.

    Args:
        raw: Voxels, axes ZYX.
        origin: Where ``raw`` begins in the volume.
        shape: Extent of the volume.
        tile: The tile; ``raw`` covers its part of the volume.
        neighbours: Sections that come on either side.

    Returns:
        Axes ZYX, padded by reflection where the tile reaches beyond the volume.
    """
    part, padding = [], []
    for span, begin, extent, more in zip(tile.axes, origin, shape, (neighbours, 0, 0), strict=True):
        low, high = span.start - more, span.stop + more
        part.append(slice(max(0, low) - begin, min(high, extent) - begin))
        padding.append((max(0, -low), max(0, high - extent)))
    return reflected(raw[tuple(part)], padding)
