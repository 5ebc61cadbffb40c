"""Distances, k-means and k-center on embeddings, in bounded memory."""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
_CHUNK = 8192
_FIT_ROWS = 20_000
_ITERATIONS = 25


def squared_distances(rows: Rows, centre: Rows) -> Rows:
    """Squared distance of each row to one centre, shape (n,).

    Args:
        rows: Shape (n, features).
        centre: Shape (features,).
    """
    found = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _CHUNK):
        difference = rows[start : start + _CHUNK] - centre
        found[start : start + _CHUNK] = np.einsum("nf,nf->n", difference, difference)
    return found


def nearest(rows: Rows, centres: Rows) -> tuple[NDArray[np.int64], Rows]:
    """The nearest centre of each row and the squared distance to it, both of shape (n,).

    Args:
        rows: Shape (n, features).
        centres: Shape (k, features), k > 0.
    """
    # Around a common origin, so that the difference of squares keeps its digits.
    origin = centres.mean(axis=0)
    centred = centres - origin
    lengths = np.einsum("kf,kf->k", centred, centred)
    index = np.empty(len(rows), np.int64)
    distance = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK] - origin
        apart = lengths - 2 * (part @ centred.T)
        best = apart.argmin(axis=1)
        index[start : start + _CHUNK] = best
        squares = np.einsum("nf,nf->n", part, part)
        distance[start : start + _CHUNK] = squares + apart[np.arange(len(part)), best]
    return index, np.maximum(distance, 0)


def k_means(rows: Rows, k: int, rng: np.random.Generator) -> tuple[Rows, NDArray[np.int64], Rows]:
    """Clusters rows: k-means++ seeds, then Lloyd's iterations until nothing moves.

    Of more than 20 000 rows a random 20 000 make the centroids, to which all are then assigned.

    Args:
        rows: Shape (n, features), n > 0.
        k: How many clusters; at most n are made.
        rng: Decides.

    Returns:
        Centroids (k, features), and for each row the index of its centroid and the squared
        distance to it, both (n,).
    """
    fitted = rows
    if len(rows) > _FIT_ROWS:
        fitted = rows[np.sort(rng.choice(len(rows), _FIT_ROWS, replace=False))]
    centroids = _seeds(fitted, min(k, len(fitted)), rng)
    before: NDArray[np.int64] | None = None
    for _ in range(_ITERATIONS):
        index, _ = nearest(fitted, centroids)
        if before is not None and np.array_equal(index, before):
            break
        before = index
        counts = np.bincount(index, minlength=len(centroids))
        order = np.argsort(index, kind="stable")
        filled = np.flatnonzero(counts)
        starts = (np.cumsum(counts) - counts)[filled]
        sums = np.add.reduceat(fitted[order], starts, axis=0, dtype=np.float64)
        # A centroid that lost all its rows stays where it was.
        centroids[filled] = sums / counts[filled, None]
    return (centroids, *nearest(rows, centroids))


def _seeds(rows: Rows, k: int, rng: np.random.Generator) -> Rows:
    """The seeds of Arthur and Vassilvitskii, "k-means++" (2007): far ones are likelier."""
    chosen = [int(rng.integers(len(rows)))]
    distance = squared_distances(rows, rows[chosen[0]])
    while len(chosen) < k:
        total = distance.sum(dtype=np.float64)
        weights = distance / total if total > 0 else None
        chosen.append(int(rng.choice(len(rows), p=_exactly_one(weights))))
        np.minimum(distance, squared_distances(rows, rows[chosen[-1]]), out=distance)
    return rows[chosen].astype(np.float32)


def _exactly_one(weights: NDArray[np.floating] | None) -> NDArray[np.float64] | None:
    if weights is None:
        return None
    exact = weights.astype(np.float64)
    normed: NDArray[np.float64] = exact / exact.sum()
    return normed


def distance_to_any(rows: Rows, centres: Rows | None) -> Rows:
    """Squared distance of each row to the nearest centre; infinite where there is none."""
    if centres is None or len(centres) == 0:
        return np.full(len(rows), np.inf, np.float32)
    return nearest(rows, centres)[1]
