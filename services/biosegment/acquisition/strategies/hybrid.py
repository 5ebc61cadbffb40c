"""Uncertainty and diversity together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from biosegment.acquisition.greedy import k_center
from biosegment.acquisition.overlap import Apart
from biosegment.acquisition.strategies.base import (
    Candidates,
    Choice,
    Parameters,
    Strategy,
    highest_first,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridParameters(Parameters):
    """Parameters of the hybrid.

    Attributes:
        factor: How many times the batch goes on the short list; 1 is entropy alone.
    """

    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {"factor": (1, 100)}

    factor: int = 5


class Hybrid(Strategy):
    """Of the most uncertain patches, those that differ most.

    The two stages of Yang et al., "Suggestive Annotation" (2017): a short list by entropy, of
    which the greedy k-center on the bottleneck embedding takes those that are farthest from what
    is labelled and from each other.
    """

    name: ClassVar[str] = "hybrid"
    description: ClassVar[str] = (
        "A short list by entropy, of which the patches farthest apart in the bottleneck embedding "
        "are taken (after Yang et al., 2017)."
    )
    statistics: ClassVar[frozenset[str]] = frozenset({"entropy"})
    embeddings: ClassVar[bool] = True
    parameters_type: ClassVar[type[Parameters]] = HybridParameters

    def select(self, candidates: Candidates, k: int, rng: np.random.Generator) -> list[Choice]:
        """The farthest of the short list; scores are mean entropies in nats."""
        assert isinstance(self.parameters, HybridParameters)
        assert candidates.embeddings is not None
        entropy = candidates.statistics["entropy"]
        # The short list stays apart already, so that it cannot be one spot many times over.
        short = self.apart(candidates).keep(highest_first(entropy, rng), k * self.parameters.factor)
        chosen = k_center(
            candidates.embeddings[short],
            candidates.labelled_embeddings,
            Apart([candidates.boxes[index] for index in short], (), self.parameters.max_overlap),
            k,
            first=0,
        )
        indices = [short[choice.index] for choice in chosen]
        return [Choice(index, float(entropy[index])) for index in indices]
