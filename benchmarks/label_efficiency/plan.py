"""The words that say how a trial chooses and begins."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from biosegment.acquisition.strategies.base import Strategy, read_parameters
from biosegment.acquisition.strategies.table import find
from biosegment.client.errors import InvalidArgumentError

ALL = "all"
_PRETRAIN = "pretrain"
_RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Plan:
    """How patches are chosen and where the weights begin.

    Attributes:
        text: As people wrote it, ``[first>...]strategy[:name=value;...][+pretrain]``.
        first: Strategies of the first batch, each of an equal share, one after the other.
        strategy: Strategy of the others; ``all`` labels the whole pool at once.
        parameters: Of that strategy.
        pretrain: Whether the weights come from self-supervised training.
    """

    text: str
    first: tuple[str, ...] = (_RANDOM,)
    strategy: str = _RANDOM
    parameters: Mapping[str, Any] = field(default_factory=dict)
    pretrain: bool = False

    def make(self, max_overlap: float) -> Strategy:
        """The strategy of all batches but the first."""
        return made(self.strategy, {"max_overlap": max_overlap, **self.parameters})

    def make_first(self, max_overlap: float) -> list[Strategy]:
        """The strategies of the first batch."""
        return [made(name, {"max_overlap": max_overlap}) for name in self.first]


def made(name: str, parameters: Mapping[str, Any]) -> Strategy:
    """A strategy of the table.

    Raises:
        InvalidArgumentError: There is no such strategy or parameter.
    """
    found = find(name)
    return found(read_parameters(found, parameters))


def parse(text: str) -> Plan:
    """Reads a plan such as ``entropy``, ``random>typicality>entropy+pretrain``, ``all``.

    Raises:
        InvalidArgumentError: It is malformed, or names an unknown strategy or parameter.
    """
    rest, _, option = text.strip().partition("+")
    if option not in ("", _PRETRAIN):
        raise InvalidArgumentError(f'"{text}" ends in "+{option}"; there is only "+{_PRETRAIN}".')
    *first, chosen = rest.split(">")
    name, _, listed = chosen.partition(":")
    parameters: dict[str, Any] = {}
    for item in filter(None, listed.split(";")):
        key, _, value = item.partition("=")
        parameters[key] = _value(value)
    begins = tuple(first) or (_RANDOM,)
    plan = Plan(text.strip(), begins, name, parameters, pretrain=option == _PRETRAIN)
    blind = not any(strategy.needs_model() for strategy in plan.make_first(0.0))
    if name != ALL:
        plan.make(0.0)
    elif parameters or first:
        raise InvalidArgumentError(f'"{text}": "{ALL}" labels the whole pool and takes no options.')
    if not blind and not plan.pretrain:
        raise InvalidArgumentError(
            f'"{text}" begins with {", ".join(begins)}, which needs a network; add "+{_PRETRAIN}".'
        )
    return plan


def _value(text: str) -> float | str | bool:
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text
