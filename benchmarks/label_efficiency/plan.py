"""The words that say how a trial chooses and begins."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from biosegment.acquisition.strategies.base import Strategy, read_parameters
from biosegment.acquisition.strategies.table import find
from biosegment.client.errors import InvalidArgumentError

ALL = "all"
_PRETRAIN = "pretrain"
_RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Start:
    """How the self-supervised training differs from the protocol's; zeros do not.

    Attributes:
        steps: How many.
        minutes: At most so many, as a campaign without a GPU has it; what comes of it depends on
            the machine.
        cut: It is asked to end after so many steps, as when the labels are in.
    """

    steps: int = 0
    minutes: float = 0.0
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """How patches are chosen and where the weights begin.

    Attributes:
        text: As people wrote it,
            ``[first>...]strategy[:name=value;...][+pretrain[:steps=n;minutes=m;cut=n]]``.
        first: Strategies of the first batch, each of an equal share, one after the other.
        strategy: Strategy of the others; ``all`` labels the whole pool at once.
        parameters: Of that strategy.
        start: The self-supervised training that the weights come from; None for fresh ones.
    """

    text: str
    first: tuple[str, ...] = (_RANDOM,)
    strategy: str = _RANDOM
    parameters: Mapping[str, Any] = field(default_factory=dict)
    start: Start | None = None

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
    option, _, how = option.partition(":")
    if option not in ("", _PRETRAIN):
        raise InvalidArgumentError(f'"{text}" ends in "+{option}"; there is only "+{_PRETRAIN}".')
    *first, chosen = rest.split(">")
    name, _, listed = chosen.partition(":")
    begins = tuple(first) or (_RANDOM,)
    start = _start(how) if option else None
    plan = Plan(text.strip(), begins, name, _values(listed), start)
    blind = not any(strategy.needs_model() for strategy in plan.make_first(0.0))
    if name != ALL:
        plan.make(0.0)
    elif listed or first:
        raise InvalidArgumentError(f'"{text}": "{ALL}" labels the whole pool and takes no options.')
    if not blind and not plan.start:
        raise InvalidArgumentError(
            f'"{text}" begins with {", ".join(begins)}, which needs a network; add "+{_PRETRAIN}".'
        )
    return plan


def _values(listed: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for item in filter(None, listed.split(";")):
        key, _, value = item.partition("=")
        made[key] = _value(value)
    return made


def _start(listed: str) -> Start:
    given = _values(listed)
    known = {part.name: part.type for part in fields(Start)}
    for name, value in given.items():
        number = isinstance(value, float) and value > 0
        if name not in known or not number or (name != "minutes" and not value.is_integer()):
            raise InvalidArgumentError(
                f'"+{_PRETRAIN}" takes {", ".join(known)} with a number above 0, not '
                f'"{name}={value}".'
            )
    return Start(
        steps=int(given.get("steps", 0)),
        minutes=float(given.get("minutes", 0.0)),
        cut=int(given.get("cut", 0)),
    )


def _value(text: str) -> float | str | bool:
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text
