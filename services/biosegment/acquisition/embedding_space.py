"""Distances and k-means among embeddings, in seconds for 100 000 of them."""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
_CHUNK = 8192
_FIT_ROWS = 10_000
_SEED_ROWS = 4_096
_ITERATIONS = 15


class Space:
    """Rows of embeddings, with what distances to them need again and again.

    Squared distances come from |a|² - 2 ab + |b|², one matrix product instead of a difference per
    pair. All is counted from the mean of the rows, so that the difference of squares keeps its
    digits.

    Attributes:
        rows: Counted from the mean, shape (n, features).
    """

    def __init__(self, rows: Rows, *, centre: bool = True) -> None:
        """Keeps rows.

        Args:
            rows: Shape (n, features), n > 0.
            centre: Count from their mean; otherwise as they are.
        """
        mean = rows.mean(axis=0, dtype=np.float64) if centre else np.zeros(rows.shape[1])
        self._origin = mean.astype(np.float32)
        self.rows: Rows = rows - self._origin
        self._squares = _squares(self.rows)

    def within(self, rows: Rows) -> Rows:
        """Other rows, counted from the same mean."""
        return rows - self._origin

    def squared_distances(self, centre: Rows) -> Rows:
        """Squared distance of each row to one centre, shape (n,).

        Args:
            centre: Shape (features,), counted from the mean.
        """
        apart = self._squares - 2 * (self.rows @ centre) + centre @ centre
        distance: Rows = np.maximum(apart, 0)
        return distance

    def nearest(self, centres: Rows) -> tuple[NDArray[np.int64], Rows]:
        """The nearest centre of each row and the squared distance to it, both of shape (n,).

        Args:
            centres: Shape (k, features), k > 0, counted from the mean.
        """
        lengths = _squares(centres)
        index = np.empty(len(self.rows), np.int64)
        distance = np.empty(len(self.rows), np.float32)
        for start in range(0, len(self.rows), _CHUNK):
            here = slice(start, start + _CHUNK)
            apart = self.rows[here] @ (-2 * centres.T)
            apart += lengths
            index[here] = apart.argmin(axis=1)
            distance[here] = self._squares[here] + apart.min(axis=1)
        return index, np.maximum(distance, 0)


def k_means(
    rows: Rows, k: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Clusters rows: k-means++ seeds, then Lloyd's iterations until nothing moves, at most 15.

    Of more than 10 000 rows a random 10 000 make the centroids, to which all are then assigned;
    the seeds are drawn from 4 096 of these.

    Args:
        rows: Shape (n, features), n > 0.
        k: How many clusters; at most n are made.
        rng: Decides.

    Returns:
        For each row the index of its centroid and the squared distance to it, both (n,).
    """
    space = Space(rows)
    k = min(k, len(rows))
    fitted = _sample(space, _FIT_ROWS, rng)
    centroids = _seeds(_sample(fitted, max(_SEED_ROWS, k), rng), k, rng)
    before: NDArray[np.int64] | None = None
    for _ in range(_ITERATIONS):
        index, _ = fitted.nearest(centroids)
        if before is not None and np.array_equal(index, before):
            break
        before = index
        belongs = np.zeros((len(centroids), len(index)), np.float32)
        belongs[index, np.arange(len(index))] = 1
        counts = belongs.sum(axis=1)
        # A centroid that lost all its rows stays where it was.
        filled = counts > 0
        centroids[filled] = (belongs @ fitted.rows)[filled] / counts[filled, None]
    return space.nearest(centroids)


def _sample(space: Space, most: int, rng: np.random.Generator) -> Space:
    """At most so many of the rows, drawn at random, counted from the same mean."""
    if len(space.rows) <= most:
        return space
    drawn = np.sort(rng.choice(len(space.rows), most, replace=False))
    return Space(space.rows[drawn], centre=False)


def _seeds(space: Space, k: int, rng: np.random.Generator) -> Rows:
    """The seeds of Arthur and Vassilvitskii, "k-means++" (2007): far ones are likelier."""
    chosen = [int(rng.integers(len(space.rows)))]
    distance = space.squared_distances(space.rows[chosen[0]])
    while len(chosen) < k:
        reached = np.cumsum(distance, dtype=np.float64)
        if reached[-1] > 0:
            drawn = rng.random() * reached[-1]
            chosen.append(min(int(np.searchsorted(reached, drawn, "right")), len(distance) - 1))
        else:
            chosen.append(int(rng.integers(len(space.rows))))
        np.minimum(distance, space.squared_distances(space.rows[chosen[-1]]), out=distance)
    return space.rows[chosen]


def _squares(rows: Rows) -> Rows:
    found: Rows = np.einsum("nf,nf->n", rows, rows)
    return found
