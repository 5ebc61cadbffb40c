"""Blocks with one voxel of overlap.

Each block looks one voxel beyond its far faces. Every pair of neighbouring voxels, diagonal ones
included, then lies within some block's extended box, so nothing that touches is missed, and what
belongs to a pair or a cell of 2 × 2 × 2 voxels is counted once: by the block of its first corner.
"""

from collections.abc import Iterator
from itertools import product

from biosegment.client.geometry import ZYX, BlockGrid, Box


def extended(box: Box, shape: ZYX) -> Box:
    """A block with one voxel more at each far face that is not the volume's."""
    z, y, x = (min(stop + 1, n) for stop, n in zip(box.stop, shape, strict=True))
    return Box(box.start, (z, y, x))


def grown(box: Box, margin: ZYX, shape: ZYX) -> Box:
    """A box with a margin on every side, as far as the volume goes."""
    z0, y0, x0 = (max(0, a - m) for a, m in zip(box.start, margin, strict=True))
    z1, y1, x1 = (min(n, b + m) for b, m, n in zip(box.stop, margin, shape, strict=True))
    return Box((z0, y0, x0), (z1, y1, x1))


def owners(grid: BlockGrid, box: Box) -> Iterator[tuple[int, Box]]:
    """Which block owns which part of a box: (index, part) of each."""
    ranges = [
        range((a - o) // n, (b - 1 - o) // n + 1)
        for a, b, o, n in zip(box.start, box.stop, grid.box.start, grid.block, strict=True)
    ]
    _, rows, columns = grid.counts
    for z, y, x in product(*ranges):
        index = (z * rows + y) * columns + x
        part = grid[index].intersection(box)
        assert part is not None
        yield index, part
