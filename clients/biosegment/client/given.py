"""What a caller gave that no request can hold, in a sentence in place of Python's own error."""

import math
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from biosegment.client.errors import InvalidArgumentError

UNSENDABLE = (ValueError, TypeError, OverflowError)
"""What the making of a message raises."""
_OUT_OF_RANGE = re.compile(r"Value out of range: (-?\d+)")
_FAR = 1e12
_WHOLE = 1 << 63
_DEPTH = 5


def unsendable(
    error: Exception, given: Mapping[str, Any], hints: Mapping[str, Any] | None = None
) -> InvalidArgumentError | None:
    """The argument that an error is about; None where it is about none of them.

    Args:
        error: One of UNSENDABLE, raised while a request was made of the arguments.
        given: The arguments by the names that the caller knows.
        hints: Their types; what must be text is told from what is not.
    """
    found = _OUT_OF_RANGE.search(str(error))
    number = int(found[1]) if found else None
    for name, value in given.items():
        text = _is_text((hints or {}).get(name))
        for place, leaf in _leaves(name, value, 0):
            wrong = _wrong(leaf, number, text=text and leaf is not None)
            if wrong:
                shown = repr(leaf)
                shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
                return InvalidArgumentError(f"{place} is {shown}; {wrong}.", field=place)
    return None


def _wrong(leaf: Any, number: int | None, *, text: bool) -> str:
    if isinstance(leaf, str):
        if leaf.isascii():
            return ""
        try:
            leaf.encode()
        except UnicodeEncodeError:
            return "it holds bytes that are no text"
        return ""
    if text:
        return "give it as text"
    if isinstance(leaf, bool) or not isinstance(leaf, int | float):
        return ""
    if isinstance(leaf, float):
        if not math.isfinite(leaf):
            return "give a finite number"
        return "give a smaller number" if abs(leaf) > _FAR else ""
    if leaf == number or not -_WHOLE <= leaf < _WHOLE:
        return "give a greater number" if leaf < 0 else "give a smaller number"
    return ""


def _leaves(place: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > _DEPTH:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{place} {key}", item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(place, item, depth + 1)
    elif hasattr(value, "__slots__") and hasattr(value, "__dataclass_fields__"):
        for field in value.__dataclass_fields__:
            yield from _leaves(f"{place} {field}", getattr(value, field), depth + 1)
    else:
        yield place, value


def _is_text(hint: Any) -> bool:
    """Whether an argument is text, or a mapping of texts, or may be left out."""
    if hint is str:
        return True
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        rest = [part for part in parts if part is not types.NoneType]
        return len(rest) == 1 and _is_text(rest[0])
    return origin is not None and parts == (str, str)
