"""What an acquisition function is: a score per patch, and a choice among the scored.

A strategy that looks at each patch by itself is a ``ScoreStrategy`` and says how
much it wants one; one that looks at the batch as a whole (core-set, k-means) is a
``Strategy`` and chooses.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from biosegment.acquisition.overlap import Apart
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Parameters that every strategy has. Subclasses add theirs, each with a default.

    Attributes:
        bounds: Smallest and largest value of the subclass's parameters, by name.
        max_overlap: Fraction of a patch that may lie in another patch of the campaign.
    """

    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {}

    max_overlap: float = 0.0

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            InvalidArgumentError: One is out of range.
        """
        if not 0 <= self.max_overlap < 1:
            raise InvalidArgumentError(
                f"max_overlap is {self.max_overlap}; it must be at least 0 and below 1.",
                field="strategy.parameters",
            )
        for name, (low, high) in self.bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidArgumentError(
                    f"{name} is {value}; it must be {low:g} to {high:g}.",
                    field="strategy.parameters",
                )

    def values(self) -> dict[str, Any]:
        """Every parameter by its name."""
        return {part.name: getattr(self, part.name) for part in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The patches to choose from, and what inference says of them.

    Attributes:
        boxes: The patches, all of one extent.
        statistics: Means over each patch by name, each of shape (n,), float64.
        embeddings: Bottleneck features, shape (n, features), float32; None unless asked for.
        labelled: Patches of the campaign proposed so far.
        labelled_embeddings: Their embeddings, shape (m, features), float32; None as above.
        progress: How far the campaign is, from 0 in the first round that a model ranks to 1 in
            the last that the budget pays for.
    """

    boxes: Sequence[Box]
    statistics: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    embeddings: NDArray[np.float32] | None = None
    labelled: Sequence[Box] = ()
    labelled_embeddings: NDArray[np.float32] | None = None
    progress: float = 0.0

    def class_probabilities(self) -> dict[int, NDArray[np.float64]]:
        """Mean probability of each class by its value, lowest (the background) first."""
        found = {
            int(name.removeprefix("p_")): values
            for name, values in self.statistics.items()
            if name.startswith("p_")
        }
        return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen candidate.

    Attributes:
        index: Position among the candidates.
        score: Higher is more wanted.
    """

    index: int
    score: float


class Strategy(ABC):
    """An acquisition function with its parameters.

    Attributes:
        name: As people write it.
        description: In a sentence, with its source.
        statistics: Names of the statistics that it reads.
        embeddings: Whether it reads embeddings.
        parameters_type: Its parameters with their defaults.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    statistics: ClassVar[frozenset[str]] = frozenset()
    embeddings: ClassVar[bool] = False
    parameters_type: ClassVar[type[Parameters]] = Parameters

    def __init__(self, parameters: Parameters | None = None) -> None:
        self.parameters = parameters or self.parameters_type()

    @classmethod
    def needs_model(cls) -> bool:
        """Whether the candidates must be scored by a model first."""
        return bool(cls.statistics) or cls.embeddings

    @property
    def dropout_passes(self) -> int:
        """Forwards with dropout on that its statistics need; 0 means none."""
        return 0

    @property
    def ensemble_versions(self) -> int:
        """Versions of the model, the ranking one among them, that its statistics compare."""
        return 1

    @abstractmethod
    def select(self, candidates: Candidates, k: int, rng: np.random.Generator) -> list[Choice]:
        """Chooses at most k candidates that stay apart, best first.

        Args:
            candidates: What there is.
            k: How many are wanted.
            rng: Source of every random choice; it also breaks ties.
        """

    def apart(self, candidates: Candidates) -> Apart:
        """What keeps the choice from overlapping itself and the patches labelled."""
        return Apart(candidates.boxes, candidates.labelled, self.parameters.max_overlap)


class ScoreStrategy(Strategy):
    """A strategy that wants the highest of one figure per patch."""

    @abstractmethod
    def score(self, candidates: Candidates, rng: np.random.Generator) -> NDArray[np.float64]:
        """How much each candidate is wanted, shape (n,); higher is more."""

    def select(self, candidates: Candidates, k: int, rng: np.random.Generator) -> list[Choice]:
        """Takes the highest scores that stay apart; ties fall at random."""
        scores = self.score(candidates, rng)
        chosen = self.apart(candidates).keep(highest_first(scores, rng), k)
        return [Choice(index, float(scores[index])) for index in chosen]


def highest_first(scores: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices by descending score; ties fall at random."""
    shuffled = rng.permutation(len(scores))
    order: NDArray[np.int64] = shuffled[np.argsort(-scores[shuffled], kind="stable")]
    return order


def read_parameters(strategy: type[Strategy], given: Mapping[str, Any]) -> Parameters:
    """The parameters of a strategy from what came over the wire.

    Args:
        strategy: Its class.
        given: Values by name; absent ones take their defaults.

    Raises:
        InvalidArgumentError: A name is unknown, or a value of the wrong type or out of range.
    """
    defaults = strategy.parameters_type().values()
    for name in given:
        if name not in defaults:
            raise InvalidArgumentError(
                f'The strategy "{strategy.name}" has no parameter "{name[:80]}"; it has '
                f"{', '.join(defaults)}.",
                field="strategy.parameters",
            )
    values = {
        name: _typed(strategy.name, name, value, defaults[name]) for name, value in given.items()
    }
    return strategy.parameters_type(**values)


def _typed(strategy: str, name: str, value: Any, default: Any) -> Any:
    """The value in the type of its default; all numbers of a Struct are floats."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, bool | str):
        if type(value) is type(default):
            return value
    elif number and math.isfinite(value):
        if isinstance(default, float):
            return float(value)
        if float(value).is_integer():
            return int(value)
    raise InvalidArgumentError(
        f'The parameter "{name}" of the strategy "{strategy}" is {str(value)[:80]!r}; it must be '
        f"{_KINDS[type(default)]}, such as {default!r}.",
        field="strategy.parameters",
    )


_KINDS = {bool: "true or false", str: "a text", int: "a whole number", float: "a number"}
