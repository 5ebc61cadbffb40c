"""Core-set."""

from typing import ClassVar

import numpy as np

from biosegment.acquisition.greedy import k_center
from biosegment.acquisition.strategies.base import Candidates, Choice, Strategy


class CoreSet(Strategy):
    """Patches that leave no candidate far from what is labelled.

    Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach"
    (2018), solved greedily as there, on the bottleneck embedding as in Rombaut, Roels and Saeys,
    "BioSegment: Active Learning segmentation for 3D electron microscopy imaging".
    """

    name: ClassVar[str] = "core_set"
    description: ClassVar[str] = (
        "Patches farthest from everything labelled in the bottleneck embedding, one after the "
        "other (Sener and Savarese, 2018)."
    )
    embeddings: ClassVar[bool] = True

    def select(self, candidates: Candidates, k: int, rng: np.random.Generator) -> list[Choice]:
        """The greedy k-center, beginning at what is labelled; scores are distances."""
        assert candidates.embeddings is not None
        return k_center(
            candidates.embeddings, candidates.labelled_embeddings, self.apart(candidates), k
        )
