"""Which fragments of neighbouring blocks are one: they name the same voxels."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.geometry import BlockGrid, Box
from biosegment.inference.instances.child.overlap import extended, owners
from biosegment.inference.instances.child.record import Record


def join(
    index: int,
    mine: Record,
    grid: BlockGrid,
    read: Callable[[Box], NDArray[Any]],
) -> NDArray[np.int64]:
    """Compares what a block sees beyond its far faces with what the owners of the voxels made.

    Args:
        index: Of the block.
        mine: What it sees beyond its faces.
        grid: The blocks.
        read: Gives the labels of a box as the owners of its voxels wrote them.

    Returns:
        Rows of (own id, block, id in that block, 1 if certain else 0, voxels).
    """
    box = grid[index]
    rows = []
    for axis, shell in _shells(box, extended(box, grid.box.stop)):
        theirs, seen = read(shell), mine[f"far_{axis}"]
        firm = mine.get(f"firm_{axis}")
        for owner, part in owners(grid, shell):
            place = part.relative_to(shell.start).slices
            sure = firm[place] if firm is not None else np.ones(part.shape, bool)
            rows.append(_pairs(seen[place], theirs[place], sure, owner))
    for own, *voxel in mine["anchors"].tolist():
        there = Box.at((voxel[0], voxel[1], voxel[2]), (1, 1, 1))
        ((owner, _),) = owners(grid, there)
        rows.append(np.array([[own, owner, int(read(there)[0, 0, 0]), 1, 1]], np.int64))
    return np.concatenate(rows) if rows else np.empty((0, 5), np.int64)


def _shells(box: Box, around: Box) -> list[tuple[int, Box]]:
    """The layers beyond the far faces, as ``record`` keeps them: (axis, box) of each."""
    (z, y, x), (far_z, far_y, far_x) = box.stop, around.stop
    z0, y0, x0 = box.start
    layers = []
    if far_z > z:
        layers.append((0, Box((z, y0, x0), (far_z, far_y, far_x))))
    if far_y > y:
        layers.append((1, Box((z0, y, x0), (z, far_y, far_x))))
    if far_x > x:
        layers.append((2, Box((z0, y0, x), (z, y, far_x))))
    return layers


def _pairs(
    mine: NDArray[np.uint32], theirs: NDArray[np.uint32], firm: NDArray[np.bool_], owner: int
) -> NDArray[np.int64]:
    both = (mine > 0) & (theirs > 0)
    keys = mine[both].astype(np.uint64) << np.uint64(32) | theirs[both].astype(np.uint64)
    rows = []
    for certain, chosen in ((1, firm[both]), (0, ~firm[both])):
        pairs, voxels = np.unique(keys[chosen], return_counts=True)
        row = np.empty((len(pairs), 5), np.int64)
        row[:, 0], row[:, 1] = pairs >> np.uint64(32), owner
        row[:, 2], row[:, 3], row[:, 4] = pairs & np.uint64(0xFFFFFFFF), certain, voxels
        rows.append(row)
    return np.concatenate(rows)
