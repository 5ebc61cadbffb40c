"""The baseline."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from biosegment.acquisition.strategies.base import Candidates, ScoreStrategy


class Random(ScoreStrategy):
    """Any patch is as good as another."""

    name: ClassVar[str] = "random"
    description: ClassVar[str] = "Patches at random: the baseline, and what a first round does."

    def score(self, candidates: Candidates, rng: np.random.Generator) -> NDArray[np.float64]:
        """A uniform random number each."""
        return rng.random(len(candidates.boxes))
