"""The patches of highest mean in a multiscale volume of any size, found from coarse to fine.

Patches lie on a grid of their own extent. A level of a mean-pooled pyramid is cut into groups: the
smallest boxes that are whole numbers both of its voxels and of patches. The finest level that is
read is the coarsest one whose groups are single patches: there the mean of a group is the mean of
the patch over level 0, exactly. Above it a group holds several patches, and its mean is only a
guess at the best of them; but values are not negative, so that no patch in it can have a mean above
the sum of the group divided by the voxels of a patch. Each level keeps the groups of highest mean,
at most a given number, and the level below reads those alone. What was let go is remembered by its
bound, so that it is known afterwards whether the answer is exact.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.acquisition.contrast import MOST, Shares
from biosegment.acquisition.overlap import Corners, corners, free_of
from biosegment.client.geometry import ZYX, Box

FRONTIER = 1 << 16
"""Groups kept on each level; some ten MB."""
BLOCKS = 4096
"""Most chunks read on each level below the coarsest one."""
_AHEAD = 8
Cells = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Level:
    """A level of the pyramid.

    Attributes:
        factors: Voxels of level 0 along each edge of a voxel, (z, y, x).
        shape: Extent in its own voxels.
        chunk: What is read at a time, in its own voxels.
    """

    factors: ZYX
    shape: ZYX
    chunk: ZYX


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to.

    Attributes:
        boxes: The patches, highest mean first; equal ones in the order z, y, x.
        means: Their means, float64, shape (n,).
        exact: Whether no other free patch of the grid has a higher mean than the last of them.
        voxels_read: Of all levels together.
    """

    boxes: list[Box]
    means: NDArray[np.float64]
    exact: bool
    voxels_read: int


@dataclass(slots=True)
class _Best:
    """The groups of highest mean so far, and the highest bound of those let go."""

    most: int
    places: Cells = field(default_factory=lambda: np.empty((0, 3), np.int64))
    means: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    let_go: float = -math.inf

    def add(self, places: Cells, means: NDArray[np.float64], patches: int) -> None:
        """Adds groups of so many patches each."""
        self.places = np.concatenate((self.places, places))
        self.means = np.concatenate((self.means, means))
        if len(self.means) > 2 * self.most:
            self.sort(patches)

    def lowest(self) -> float:
        """What a group's mean has to exceed to be kept."""
        if len(self.means) < self.most:
            return -math.inf
        return float(np.partition(self.means, -self.most)[-self.most])

    def sort(self, patches: int) -> None:
        """Highest first, and no more than may be kept."""
        order = np.lexsort((*self.places.T[::-1], -self.means))
        self.places, self.means = self.places[order], self.means[order]
        if len(order) > self.most:
            self.let_go = max(self.let_go, float(self.means[self.most]) * patches)
            self.places, self.means = self.places[: self.most], self.means[: self.most]


class Search:
    """One search through a pyramid of means of values that are not negative."""

    def __init__(
        self,
        levels: Sequence[Level],
        read: Callable[[Box], NDArray[Any]],
        region: Box,
        patch: ZYX,
        *,
        taken: Sequence[Box] = (),
        max_overlap: float = 0.0,
        padding: Shares | None = None,
        frontier: int = FRONTIER,
        blocks: int = BLOCKS,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepares a search; nothing is read yet.

        Args:
            levels: Finest first; the factors of each are multiples of those before.
            read: Gives the voxels of a box of a level, axes ZYX; called in threads.
            region: Where patches may lie, level 0.
            patch: Their extent, (z, y, x).
            taken: Boxes that patches must stay apart from.
            max_overlap: Fraction of a patch that may lie in any one of them.
            padding: Tells how much of a patch is padding; more than half is passed over.
            frontier: Groups kept on each level.
            blocks: Most chunks read on each level below the coarsest.
            check: Called between reads; may raise to stop.
        """
        self._levels = levels
        self._read = read
        self._patch = np.array(patch, np.int64)
        self._first = -(-np.array(region.start, np.int64) // self._patch)
        self._last = np.array(region.stop, np.int64) // self._patch
        self._taken = corners(taken)
        self._max_overlap = max_overlap
        self._padding = padding
        self._frontier = frontier
        self._blocks = blocks
        self._check = check
        self._voxels_read = 0

    def best(self, count: int) -> Found:
        """The so many free patches of highest mean; fewer where the grid has no more."""
        if (self._first >= self._last).any():
            return Found([], np.empty(0), True, 0)
        home = max(n for n in range(len(self._levels)) if self._patches(n) == 1)
        let_go = -math.inf
        above: _Best | None = None
        for n in range(len(self._levels) - 1, home - 1, -1):
            kept = _Best(count if n == home else self._frontier)
            parts, lost = self._parts(n, above)
            let_go = max(let_go, lost)
            for places, means in self._measured(n, parts):
                if n == home:
                    places, means = self._usable(places, means, kept.lowest())
                kept.add(places, means, self._patches(n))
            kept.sort(self._patches(n))
            if n > home:
                let_go = max(let_go, kept.let_go)
            above = kept
        assert above is not None
        worst = float(above.means[-1]) if len(above.means) == count else -math.inf
        boxes = self._boxes(above.places)
        return Found(boxes, above.means, let_go <= worst, self._voxels_read)

    def _boxes(self, places: Cells) -> list[Box]:
        depth, height, width = self._patch.tolist()
        starts = (places * self._patch).tolist()
        return [Box.at((z, y, x), (depth, height, width)) for z, y, x in starts]

    def _group(self, n: int) -> Cells:
        """Patches along each edge of a group of a level."""
        group: Cells = np.lcm(np.array(self._levels[n].factors), self._patch) // self._patch
        return group

    def _patches(self, n: int) -> int:
        return int(self._group(n).prod())

    def _range(self, n: int) -> tuple[Cells, Cells]:
        """The groups of a level that hold patches of the region."""
        group = self._group(n)
        return self._first // group, -(-self._last // group)

    def _block(self, n: int) -> Cells:
        """Groups along each edge of what is read at a time: about a chunk."""
        level, edge = self._levels[n], self._group(n) * self._patch
        block: Cells = np.maximum(1, np.array(level.chunk) * np.array(level.factors) // edge)
        return block

    def _parts(self, n: int, above: _Best | None) -> tuple[Iterable[tuple[Cells, Cells]], float]:
        """What to read of a level: (place of a block, groups in it), and the bound of what not."""
        low, high = self._range(n)
        block = self._block(n)
        if above is None:
            counts = -(-high // block) - low // block
            corner = low // block
            every = (corner + np.array(place) for place in np.ndindex(*counts.tolist()))
            return ((place, _lattice(place, block, low, high)) for place in every), -math.inf
        ratio = self._group(n + 1) // self._group(n)
        inner = _lattice(np.zeros(3, np.int64), ratio, np.zeros(3, np.int64), ratio)
        groups = (above.places[:, None] * ratio + inner).reshape(-1, 3)
        bounds = np.repeat(above.means * self._patches(n + 1), len(inner))
        inside = ((groups >= low) & (groups < high)).all(axis=1)
        groups, bounds = groups[inside], bounds[inside]
        # Groups come best first, and so do the blocks by the first group that is in them.
        _, first, number = np.unique(
            groups // block, axis=0, return_index=True, return_inverse=True
        )
        number = np.argsort(np.argsort(first))[number.reshape(-1)]
        left_out = bounds[number >= self._blocks]
        by_block = np.argsort(number, kind="stable")
        edges = np.searchsorted(number[by_block], np.arange(min(len(first), self._blocks) + 1))
        members = (groups[by_block[a:b]] for a, b in pairwise(edges))
        parts = ((each[0] // block, each) for each in members)
        return parts, float(left_out.max()) if len(left_out) else -math.inf

    def _measured(
        self, n: int, parts: Iterable[tuple[Cells, Cells]]
    ) -> Iterator[tuple[Cells, NDArray[np.float64]]]:
        """Groups with their means; some blocks are read ahead."""
        level, group = self._levels[n], self._group(n)
        cells = group * self._patch // np.array(level.factors)
        low, high = self._range(n)
        waiting: deque[tuple[Cells, Cells, Future[NDArray[Any]]]] = deque()
        with ThreadPoolExecutor(_AHEAD) as readers:
            try:
                for place, groups in parts:
                    self._check()
                    start = np.maximum(place * self._block(n), low)
                    stop = np.minimum((place + 1) * self._block(n), high)
                    box = _box(start * cells, np.minimum(stop * cells, level.shape), n)
                    self._voxels_read += box.voxels
                    waiting.append((start, groups, readers.submit(self._read, box)))
                    if len(waiting) >= _AHEAD:
                        yield _means(*waiting.popleft(), cells)
                while waiting:
                    yield _means(*waiting.popleft(), cells)
            finally:
                readers.shutdown(wait=False, cancel_futures=True)

    def _usable(
        self, places: Cells, means: NDArray[np.float64], lowest: float
    ) -> tuple[Cells, NDArray[np.float64]]:
        """The patches that may be proposed, of those whose means are higher than the lowest."""
        free = self._free(places)
        if self._padding is not None:
            # Raw voxels are read for no more patches than could be among the best.
            free &= means > lowest
            free[free] = self._padding(self._boxes(places[free])) <= MOST
        return places[free], means[free]

    def _free(self, places: Cells) -> NDArray[np.bool_]:
        """Which patches lie in the region and apart from what is taken."""
        starts = places * self._patch
        patches: Corners = np.stack((starts, starts + self._patch), axis=1)
        free = ((places >= self._first) & (places < self._last)).all(axis=1)
        around = patches[:, 0].min(axis=0), patches[:, 1].max(axis=0)
        near = (self._taken[:, 0] < around[1]) & (self._taken[:, 1] > around[0])
        taken = self._taken[near.all(axis=1)]
        kept: NDArray[np.bool_] = free & free_of(patches, taken, self._max_overlap)
        return kept


def _lattice(place: Cells, block: Cells, low: Cells, high: Cells) -> Cells:
    """The groups of a block that lie in a range, (n, 3), in C order."""
    start, stop = np.maximum(place * block, low), np.minimum((place + 1) * block, high)
    edges = [np.arange(a, b) for a, b in zip(start, stop, strict=True)]
    return np.stack(np.meshgrid(*edges, indexing="ij"), axis=-1).reshape(-1, 3)


def _box(start: Cells, stop: Cells, level: int) -> Box:
    (z0, y0, x0), (z1, y1, x1) = start.tolist(), stop.tolist()
    return Box((z0, y0, x0), (z1, y1, x1), level)


def _means(
    start: Cells, groups: Cells, voxels: Future[NDArray[Any]], cells: Cells
) -> tuple[Cells, NDArray[np.float64]]:
    """The means of groups of a block.

    Args:
        start: First group of the block.
        groups: Those wanted, (n, 3).
        voxels: Of the block, which the end of the volume may cut short.
        cells: Voxels along each edge of a group.
    """
    means = np.asarray(voxels.result(), np.float64)
    for axis, edge in enumerate(cells.tolist()):
        starts = np.arange(0, means.shape[axis], edge)
        # The end of the volume may cut the last one short.
        lengths = np.diff(starts, append=means.shape[axis])
        means = np.add.reduceat(means, starts, axis=axis)
        means /= lengths.reshape([-1 if n == axis else 1 for n in range(3)])
    z, y, x = (groups - start).T
    return groups, means[z, y, x]
