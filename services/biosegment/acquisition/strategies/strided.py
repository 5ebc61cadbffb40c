"""Evenly spread."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from biosegment.acquisition.overlap import corners
from biosegment.acquisition.strategies.base import Candidates, Choice, Strategy

# The real root of x**4 = x + 1, whose powers spread points in three dimensions.
_ROOT = 1.2207440846057596
_STEPS = np.array([1 / _ROOT, 1 / _ROOT**2, 1 / _ROOT**3])


class Strided(Strategy):
    """Patches spread evenly over z, y and x, without a model.

    Neighbouring sections say much the same, so spreading is a strong baseline on volumes. The
    places are those of Roberts, "The Unreasonable Effectiveness of Quasirandom Sequences" (2018):
    any number of them is even, so each round goes on where the last one stopped.
    """

    name: ClassVar[str] = "strided"
    description: ClassVar[str] = (
        "Patches spread evenly over z, y and x (quasirandom sequence of Roberts, 2018); looks at "
        "no model."
    )

    def select(self, candidates: Candidates, k: int, rng: np.random.Generator) -> list[Choice]:
        """The candidate nearest each place; scores are negative distances in extents."""
        if not candidates.boxes:
            return []
        centres = corners(candidates.boxes).mean(axis=1)
        low = centres.min(axis=0)
        extent = np.maximum(centres.max(axis=0) - low, 1)
        where = (centres - low) / extent
        apart = self.apart(candidates)
        chosen: list[Choice] = []
        for place in places(len(candidates.labelled), k):
            distance = np.sqrt(((where - place) ** 2).sum(axis=1))
            distance[~apart.free] = np.inf
            index = int(distance.argmin())
            if not apart.keep([index], 1):
                break
            chosen.append(Choice(index, -float(distance[index])))
        return chosen


def places(start: int, count: int) -> NDArray[np.float64]:
    """Some places of the sequence in the unit cube, shape (count, 3), axis order ZYX."""
    numbers = np.arange(start + 1, start + count + 1)[:, None]
    found: NDArray[np.float64] = (0.5 + numbers * _STEPS) % 1.0
    return found
