"""Least confidence."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from biosegment.acquisition.strategies.base import Candidates, ScoreStrategy


class LeastConfidence(ScoreStrategy):
    """Patches where even the likeliest class is unlikely.

    Equation 2 of Rombaut, Roels and Saeys, "BioSegment: Active Learning segmentation for 3D
    electron microscopy imaging": the patch with the smallest sum of max p. Here the mean of
    1 - max p, which orders patches of one extent alike.
    """

    name: ClassVar[str] = "least_confidence"
    description: ClassVar[str] = (
        "Patches with the highest mean of 1 - max p, p being the class probabilities (Rombaut et "
        "al., eq. 2)."
    )
    statistics: ClassVar[frozenset[str]] = frozenset({"least_confidence"})

    def score(self, candidates: Candidates, rng: np.random.Generator) -> NDArray[np.float64]:
        """Mean of 1 - max p."""
        return candidates.statistics["least_confidence"]
