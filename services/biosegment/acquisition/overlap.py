"""Patches that stay apart."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from biosegment.client.geometry import Box

Corners = NDArray[np.int64]


def corners(boxes: Sequence[Box]) -> Corners:
    """Boxes as an array of shape (n, 2, 3): starts and stops, axis order ZYX."""
    return np.array([(box.start, box.stop) for box in boxes], np.int64).reshape(-1, 2, 3)


def covered(patches: Corners, box: Corners) -> NDArray[np.float64]:
    """The fraction of each patch that lies in one box, shape (n,).

    Args:
        patches: Shape (n, 2, 3).
        box: Shape (2, 3).
    """
    shared = np.minimum(patches[:, 1], box[1]) - np.maximum(patches[:, 0], box[0])
    volume = np.prod((patches[:, 1] - patches[:, 0]).astype(np.float64), axis=1)
    common = np.prod(np.maximum(shared, 0).astype(np.float64), axis=1)
    fraction: NDArray[np.float64] = common / volume
    return fraction


def free_of(patches: Corners, taken: Corners, max_overlap: float) -> NDArray[np.bool_]:
    """Which patches have at most a fraction in any one of the taken boxes, shape (n,)."""
    free = np.ones(len(patches), np.bool_)
    axes = _by_axis(patches)
    for box in taken:
        _strike(free, patches, axes, box, max_overlap)
    return free


def _by_axis(patches: Corners) -> Corners:
    """The same corners as (2, 3, n), so that each coordinate lies in one piece of memory."""
    return np.ascontiguousarray(patches.transpose(1, 2, 0))


def _strike(
    free: NDArray[np.bool_], patches: Corners, axes: Corners, box: Corners, max_overlap: float
) -> None:
    """Marks those that lie too far in a box; only the few that touch it are measured."""
    starts, stops = axes
    touching = np.ones(len(free), np.bool_)
    for axis in range(3):
        touching &= (starts[axis] < box[1, axis]) & (stops[axis] > box[0, axis])
    near = np.flatnonzero(touching)
    free[near[covered(patches[near], box) > max_overlap]] = False


class Apart:
    """Keeps candidates that stay apart from what is taken and from each other.

    Attributes:
        free: Which candidates may still be kept, shape (n,).
    """

    def __init__(self, boxes: Sequence[Box], taken: Sequence[Box], max_overlap: float) -> None:
        """Begins with nothing kept.

        Args:
            boxes: The candidates.
            taken: Boxes to stay apart from as well.
            max_overlap: Fraction of a candidate that may lie in any one other box.
        """
        self._patches = corners(boxes)
        self._axes = _by_axis(self._patches)
        self._max_overlap = max_overlap
        self.free = free_of(self._patches, corners(taken), max_overlap)

    def keep(self, order: Iterable[int], k: int) -> list[int]:
        """Goes through candidates in order and keeps those that stay apart from all kept before.

        Args:
            order: Indices of the candidates, best first.
            k: How many are wanted; there may be fewer.
        """
        kept: list[int] = []
        for index in order:
            if len(kept) >= k:
                break
            if self.free[index]:
                kept.append(int(index))
                box = self._patches[index]
                _strike(self.free, self._patches, self._axes, box, self._max_overlap)
        return kept
