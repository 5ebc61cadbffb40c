"""What an acquisition function is: a score per patch, and a choice among the scored.

The two are kept apart: ``score`` is f(model, patch), from the statistics and
embeddings that inference sends; ``select`` is g(scores, embeddings, labelled).
A strategy that only ranks overrides the first, one that looks at the batch as
a whole (core-set, k-means) the second.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from biosegment.acquisition.overlap import choose_apart
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Parameters that every strategy has. Subclasses add theirs, each with a default.

    Attributes:
        max_overlap: Fraction of a patch that may lie in another patch of the campaign.
    """

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
    """

    boxes: Sequence[Box]
    statistics: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    embeddings: NDArray[np.float32] | None = None
    labelled: Sequence[Box] = ()


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

    @abstractmethod
    def score(self, candidates: Candidates, rng: np.random.Generator) -> NDArray[np.float64]:
        """How much each candidate is wanted, shape (n,); higher is more."""

    def select(self, candidates: Candidates, k: int, rng: np.random.Generator) -> list[Choice]:
        """Chooses at most k candidates that stay apart, best first.

        Args:
            candidates: What there is.
            k: How many are wanted.
            rng: Source of every random choice; it also breaks ties.
        """
        scores = self.score(candidates, rng)
        shuffled = rng.permutation(len(scores))
        order = shuffled[np.argsort(-scores[shuffled], kind="stable")]
        chosen = choose_apart(
            order, candidates.boxes, candidates.labelled, k, self.parameters.max_overlap
        )
        return [Choice(index, float(scores[index])) for index in chosen]


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
