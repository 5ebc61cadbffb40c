"""Texts of others on a terminal: shown, never obeyed."""

import re

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""C0 and C1 control characters, line breaks of Unicode, and what turns the order of letters."""
_KEPT_IN_PROSE = "\n\t"


def printable(text: str, *, lines: bool = False) -> str:
    r"""A text that a terminal shows as it is: what would control it is written as ``\x1b``.

    Args:
        text: Any, such as a name that somebody else gave.
        lines: Whether line breaks and tabs stay, as in a message of several lines.
    """
    if CONTROL.search(text) is None:
        return text
    kept = _KEPT_IN_PROSE if lines else ""
    return CONTROL.sub(lambda found: found[0] if found[0] in kept else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
