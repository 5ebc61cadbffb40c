"""Random choices in proportion to a power of a score, in several strata of one batch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from biosegment.acquisition.overlap import Apart

# Stands for zero in logarithms: such a patch is taken only where nothing else is left.
_TINY = 1e-12


def noised(
    scores: NDArray[np.float64], power: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Scores whose descending order draws without replacement in proportion to score ** power.

    Kirsch et al., "Stochastic Batch Acquisition" (2023): the logarithm of the score plus noise of
    a Gumbel distribution, divided by the power. Power 0 would be uniform, infinity the order of
    the scores.

    Args:
        scores: Not negative, shape (n,).
        power: Greater than 0 (beta in the paper).
        rng: Decides.
    """
    noise: NDArray[np.float64] = rng.gumbel(size=len(scores)) / power
    return np.log(np.maximum(scores, _TINY)) + noise


def shares(total: int, parts: int, rng: np.random.Generator) -> list[int]:
    """A number in parts that differ by at most one; chance says which get more."""
    extra = set(rng.permutation(parts)[: total % parts].tolist())
    return [total // parts + (part in extra) for part in range(parts)]


def choose(apart: Apart, strata: Sequence[tuple[NDArray[np.float64], int]], k: int) -> list[int]:
    """Takes from each stratum what it is due, and the rest from the last.

    Args:
        apart: Which candidates may be taken.
        strata: A figure per candidate, higher first, and how many to take by it.
        k: How many are wanted in all.
    """
    chosen: list[int] = []
    for figures, due in strata:
        chosen += apart.keep(np.argsort(-figures, kind="stable"), min(due, k - len(chosen)))
    last = np.argsort(-strata[-1][0], kind="stable")
    return chosen + apart.keep(last, k - len(chosen))
