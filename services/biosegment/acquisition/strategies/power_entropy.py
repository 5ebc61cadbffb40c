"""Power-noised entropy in class strata."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from biosegment.acquisition.strata import choose, noised, shares
from biosegment.acquisition.strategies.base import Candidates, Choice, Parameters, Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerEntropyParameters(Parameters):
    """Parameters of power-noised entropy.

    Attributes:
        class_share: Fraction of a batch that is shared out among the classes.
        first_power: Power of the score in the first round that a model ranks.
        last_power: Power in the last; between the two it grows exponentially.
    """

    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {
        "class_share": (0, 1),
        "first_power": (0.001, 1e6),
        "last_power": (0.001, 1e6),
    }

    class_share: float = 0.66
    first_power: float = 1.0
    last_power: float = 100.0

    def power(self, progress: float) -> float:
        """The power at a point of a campaign, from 0 to 1."""
        return float(self.first_power * (self.last_power / self.first_power) ** progress)


class PowerEntropy(Strategy):
    """Entropy with noise that fades over the rounds, two thirds of it class by class.

    After "ClaSP PE" (2026): patches are drawn in proportion to entropy ** beta, beta growing from
    1 to 100 over the campaign, so that early rounds explore and late ones refine. 66 % of a batch
    are shared out among the classes, where a patch's entropy counts by the class's mean
    probability in it (that paper sums the entropy of the voxels predicted as the class), so that
    no class is left out for being rare.
    """

    name: ClassVar[str] = "power_entropy"
    description: ClassVar[str] = (
        "Patches drawn in proportion to a power of their entropy that grows over the rounds, two "
        "thirds of them class by class (after ClaSP PE, 2026)."
    )
    statistics: ClassVar[frozenset[str]] = frozenset({"entropy"})
    parameters_type: ClassVar[type[Parameters]] = PowerEntropyParameters

    def select(self, candidates: Candidates, k: int, rng: np.random.Generator) -> list[Choice]:
        """The classes' parts first, then the plain one; scores are mean entropies in nats."""
        assert isinstance(self.parameters, PowerEntropyParameters)
        power = self.parameters.power(candidates.progress)
        entropy = candidates.statistics["entropy"]
        classes = candidates.class_probabilities().values()
        due = shares(round(self.parameters.class_share * k), len(classes), rng)
        strata = [
            (noised(entropy * probability, power, rng), count)
            for probability, count in zip(classes, due, strict=True)
        ]
        strata.append((noised(entropy, power, rng), k))
        chosen = choose(self.apart(candidates), strata, k)
        return [Choice(index, float(entropy[index])) for index in chosen]
