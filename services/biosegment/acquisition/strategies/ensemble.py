"""Disagreement of an ensemble."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from biosegment.acquisition.strategies.base import Candidates, Parameters, ScoreStrategy

MOST_VERSIONS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleParameters(Parameters):
    """Parameters of the ensemble.

    Attributes:
        versions: Newest versions of the model that are compared; fewer where there are fewer.
    """

    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {"versions": (2, MOST_VERSIONS)}

    versions: int = 3


class Ensemble(ScoreStrategy):
    """Patches about which the newest versions of the model disagree.

    Beluch et al., "The Power of Ensembles for Active Learning in Image Classification" (2018),
    with the versions that earlier rounds made as the members, which cost no training: the mutual
    information, entropy of the mean less mean of the entropies. With one version nothing can
    disagree, and the choice is random.
    """

    name: ClassVar[str] = "ensemble"
    description: ClassVar[str] = (
        "Patches about which the newest versions of the model disagree: entropy of the mean less "
        "mean of the entropies (Beluch et al., 2018)."
    )
    statistics: ClassVar[frozenset[str]] = frozenset({"mutual_information"})
    parameters_type: ClassVar[type[Parameters]] = EnsembleParameters

    @property
    def ensemble_versions(self) -> int:
        """As the parameters say."""
        assert isinstance(self.parameters, EnsembleParameters)
        return self.parameters.versions

    def score(self, candidates: Candidates, rng: np.random.Generator) -> NDArray[np.float64]:
        """Mean mutual information in nats."""
        return candidates.statistics["mutual_information"]
