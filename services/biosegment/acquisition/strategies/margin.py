"""Smallest margin."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from biosegment.acquisition.strategies.base import Candidates, ScoreStrategy


class Margin(ScoreStrategy):
    """Patches where the likeliest class is hardly likelier than the second.

    Scheffer, Decomain and Wrobel, "Active Hidden Markov Models for Information Extraction"
    (2001), here the mean over the voxels of 1 - (p1 - p2), p1 and p2 being the two highest class
    probabilities. With two classes it orders patches as least confidence does.
    """

    name: ClassVar[str] = "margin"
    description: ClassVar[str] = (
        "Patches with the highest mean of 1 - (p1 - p2), p1 and p2 being the two highest class "
        "probabilities (Scheffer et al., 2001)."
    )
    statistics: ClassVar[frozenset[str]] = frozenset({"margin"})

    def score(self, candidates: Candidates, rng: np.random.Generator) -> NDArray[np.float64]:
        """Mean of 1 - (p1 - p2)."""
        return candidates.statistics["margin"]
