"""Foreground-aware random."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from biosegment.acquisition.strata import choose, noised, shares
from biosegment.acquisition.strategies.base import Candidates, Choice, Parameters, Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class ForegroundParameters(Parameters):
    """Parameters of foreground-aware random.

    Attributes:
        foreground_share: Fraction of a batch that is drawn by predicted foreground.
    """

    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {"foreground_share": (0, 1)}

    foreground_share: float = 1 / 3


class ForegroundRandom(Strategy):
    """Random patches, a third of them where foreground is predicted.

    The baseline that few methods beat in Lüth et al., "nnActive" (2025): there two thirds of a
    batch are uniform and the rest is centred on a foreground class or its border. Here that rest
    is shared out among the foreground classes, and drawn in proportion to a patch's mean
    probability of the class. Without a model all is uniform.
    """

    name: ClassVar[str] = "foreground_random"
    description: ClassVar[str] = (
        "Patches at random, a third of them in proportion to the foreground that the model "
        "predicts, class by class (after nnActive, 2025): the baseline to beat."
    )
    # Any statistic brings the classes' probabilities along; only its presence is needed here.
    statistics: ClassVar[frozenset[str]] = frozenset({"entropy"})
    parameters_type: ClassVar[type[Parameters]] = ForegroundParameters

    def select(self, candidates: Candidates, k: int, rng: np.random.Generator) -> list[Choice]:
        """Foreground first, then uniform; scores are mean probabilities of foreground."""
        assert isinstance(self.parameters, ForegroundParameters)
        _, *foreground = candidates.class_probabilities().values()
        due = shares(round(self.parameters.foreground_share * k), len(foreground), rng)
        strata = [
            (noised(values, 1.0, rng), count) for values, count in zip(foreground, due, strict=True)
        ]
        strata.append((rng.random(len(candidates.boxes)), k))
        likely = np.sum(foreground, axis=0)
        chosen = choose(self.apart(candidates), strata, k)
        return [Choice(index, float(likely[index])) for index in chosen]
