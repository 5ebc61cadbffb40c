"""The greedy k-center, over candidates that have to stay apart."""

import numpy as np
from numpy.typing import NDArray

from biosegment.acquisition.embedding_space import Rows, Space
from biosegment.acquisition.overlap import Apart
from biosegment.acquisition.strategies.base import Choice


def k_center(
    rows: Rows, covered: Rows | None, apart: Apart, k: int, first: int | None = None
) -> list[Choice]:
    """Takes again and again the candidate that is farthest from all that is taken.

    Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach"
    (2018), algorithm 1.

    Args:
        rows: Embeddings of the candidates, (n, features).
        covered: Embeddings of what is labelled, (m, features), or None.
        apart: Which candidates may be taken.
        k: How many are wanted.
        first: What to begin with where nothing is labelled; the one nearest the mean if not given.

    Returns:
        The choices, each with its distance at the time; the first of all has 0 where nothing is
        labelled.
    """
    if not apart.free.any():
        return []
    space = Space(rows)
    if covered is not None and len(covered):
        _, distance = space.nearest(space.within(covered))
    else:
        distance = np.full(len(rows), np.inf, np.float32)
    chosen: list[Choice] = []
    while len(chosen) < k and apart.free.any():
        if np.isinf(distance).all():
            index = first if first is not None else _middle(space, apart.free)
            score = 0.0
        else:
            index = int(np.where(apart.free, distance, -1).argmax())
            score = float(np.sqrt(distance[index]))
        apart.keep([index], 1)
        chosen.append(Choice(index, score))
        np.minimum(distance, space.squared_distances(space.rows[index]), out=distance)
    return chosen


def _middle(space: Space, free: NDArray[np.bool_]) -> int:
    from_mean = space.squared_distances(np.zeros_like(space.rows[0]))
    return int(np.where(free, from_mean, np.inf).argmin())
