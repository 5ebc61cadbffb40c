"""What Monte Carlo dropout tells: the paper's BALD, and BALD as Houlsby et al. define it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from biosegment.acquisition.strategies.base import Candidates, Parameters, ScoreStrategy

MOST_PASSES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class DropoutParameters(Parameters):
    """Parameters of strategies that leave dropout on.

    Attributes:
        dropout_passes: Forwards with dropout on, each with units of its own left out (T in the
            paper, which does not say how many).
    """

    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {"dropout_passes": (1, MOST_PASSES)}

    dropout_passes: int = 8


class _Dropout(ScoreStrategy):
    """Reads one statistic over passes with dropout."""

    parameters_type: ClassVar[type[Parameters]] = DropoutParameters

    @property
    def dropout_passes(self) -> int:
        """As the parameters say."""
        assert isinstance(self.parameters, DropoutParameters)
        return self.parameters.dropout_passes

    def score(self, candidates: Candidates, rng: np.random.Generator) -> NDArray[np.float64]:
        """The statistic, in nats."""
        (statistic,) = self.statistics
        return candidates.statistics[statistic]


class Bald(_Dropout):
    """Patches with the highest entropy of the mean over passes with dropout.

    Equation 3 put into equation 1 of Rombaut, Roels and Saeys, "BioSegment: Active Learning
    segmentation for 3D electron microscopy imaging": BALD as that paper defines it.
    """

    name: ClassVar[str] = "bald"
    description: ClassVar[str] = (
        "Patches with the highest mean entropy of the class probabilities averaged over passes "
        "with dropout (Rombaut et al., eq. 3 and 1)."
    )
    statistics: ClassVar[frozenset[str]] = frozenset({"bald"})


class MutualInformation(_Dropout):
    """Patches about which passes with dropout disagree.

    Houlsby et al., "Bayesian Active Learning for Classification and Preference Learning" (2011),
    with the Monte Carlo dropout of Gal, Islam and Ghahramani (2017): the entropy of the mean less
    the mean of the entropies. What every pass is equally unsure of, such as a blurred membrane,
    does not count.
    """

    name: ClassVar[str] = "mutual_information"
    description: ClassVar[str] = (
        "Patches about which passes with dropout disagree: entropy of the mean less mean of the "
        "entropies (Houlsby et al., 2011; Gal et al., 2017)."
    )
    statistics: ClassVar[frozenset[str]] = frozenset({"mutual_information"})
