"""Maximum entropy."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from biosegment.acquisition.strategies.base import Candidates, ScoreStrategy


class Entropy(ScoreStrategy):
    """Patches whose voxels the model is least sure of.

    Equation 1 of Rombaut, Roels and Saeys, "BioSegment: Active Learning segmentation for 3D
    electron microscopy imaging": the sum over the voxels of -Σ p log p. Here the mean, which
    orders patches of one extent alike and does not grow with the extent.
    """

    name: ClassVar[str] = "entropy"
    description: ClassVar[str] = (
        "Patches with the highest mean entropy of the class probabilities (Rombaut et al., eq. 1)."
    )
    statistics: ClassVar[frozenset[str]] = frozenset({"entropy"})

    def score(self, candidates: Candidates, rng: np.random.Generator) -> NDArray[np.float64]:
        """Mean entropy in nats."""
        return candidates.statistics["entropy"]
