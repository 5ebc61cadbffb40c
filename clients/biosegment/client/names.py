"""Resource names: building and taking apart ``projects/p/datasets/d`` and the like (AIP-122)."""

import re
import unicodedata
from collections.abc import Iterable

from biosegment.client.errors import InvalidArgumentError, NotFoundError
from biosegment.client.kinds import (
    ANNOTATION,
    CAMPAIGN,
    DATASET,
    JOB,
    KINDS,
    LABEL_CLASS,
    MODEL,
    PROJECT,
    PROPOSAL,
    ROUND,
    SEGMENTATION,
    VERSION,
    VOLUME,
    WHAT,
)

__all__ = [
    "ANNOTATION",
    "CAMPAIGN",
    "DATASET",
    "DEFAULT_PROJECT",
    "JOB",
    "KINDS",
    "LABEL_CLASS",
    "MODEL",
    "PROJECT",
    "PROPOSAL",
    "ROUND",
    "SEGMENTATION",
    "VERSION",
    "VOLUME",
    "check_id",
    "command",
    "expand",
    "not_found",
    "parse",
    "parse_int",
    "project_of",
    "short",
    "shortened",
]

DEFAULT_PROJECT = "default"
"""The project that short names belong to unless another one is named."""

_ID = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")
_ILLEGAL = re.compile(r"[^a-z0-9_-]")
_LONGEST = 63
_RULE = 'a-z, 0-9, "-" and "_", beginning and ending with a letter or digit, at most 63 characters'
# 18 digits are what 64 bits always hold.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_LATEST = "latest"
_SHOWN = 80
_ALIKE = 3


def check_id(value: str, what: str = "resource") -> str:
    """Returns the id if it is a legal one: a-z, 0-9, "-" and "_", at most 63 characters.

    Raises:
        InvalidArgumentError: It is not; the sentence says which character is wrong, and what
            would do.
    """
    if _ID.fullmatch(value):
        return value
    better = _legal(value)
    raise InvalidArgumentError(
        f'"{value[:_SHOWN]}" cannot name a {what}: {_fault(value)}. Use {_RULE}'
        + (f'; for example "{better}".' if better else "."),
        value=value[:_SHOWN],
    )


def _fault(value: str) -> str:
    """What is wrong with an id, in words."""
    if not value:
        return "it is empty"
    wrong = _ILLEGAL.search(value)
    if wrong is not None:
        character = wrong.group()
        if character.isupper():
            return f'capitals such as "{character}" are not allowed'
        if character.isspace():
            return "spaces are not allowed"
        if not character.isprintable():
            return f"the control character U+{ord(character):04X} is not allowed"
        return f'"{character}" is not allowed'
    if len(value) > _LONGEST:
        return f"it has {len(value)} characters"
    return f'it {"begins" if value[0] in "-_" else "ends"} with "-" or "_"'


def _legal(value: str) -> str:
    """The legal id that is most like a text; "" if nothing is left of it."""
    plain = unicodedata.normalize("NFKD", value[: 4 * _LONGEST].casefold())
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    return re.sub(r"[^a-z0-9_]+", "-", plain)[:_LONGEST].strip("-_")


def parse(pattern: str, name: str) -> tuple[str, ...]:
    """Takes a resource name apart.

    Args:
        pattern: One of this module's patterns.
        name: The resource name.

    Returns:
        The ids, from left to right.

    Raises:
        InvalidArgumentError: The name does not follow the pattern.
    """
    wanted, given = pattern.split("/"), name.split("/")
    if len(wanted) != len(given) or any(
        w not in (g, "{}") for w, g in zip(wanted, given, strict=True)
    ):
        raise InvalidArgumentError(
            f'"{name[:200]}" is not the full name of a {KINDS[pattern].what}: it has the form '
            f"{_form(wanted)}.",
            name=name[:200],
        )
    return tuple(
        check_id(g, WHAT[given[place - 1]])
        for place, (w, g) in enumerate(zip(wanted, given, strict=True))
        if w == "{}"
    )


def _form(wanted: list[str]) -> str:
    """A pattern for people: projects/PROJECT/datasets/DATA-SET."""
    return "/".join(
        WHAT[wanted[place - 1]].upper().replace(" ", "-") if word == "{}" else word
        for place, word in enumerate(wanted)
    )


def expand(pattern: str, value: str, project: str) -> str:
    """The full resource name for a full or a short one.

    Args:
        pattern: One of this module's patterns.
        value: A full name, returned as it is, or the ids after the project joined by "/":
            ``m/3`` for a model version.
        project: The id of the project that short names belong to.

    Raises:
        InvalidArgumentError: The value follows the pattern neither in full nor in short.
    """
    if value.startswith("projects/"):
        parse(pattern, value)
        return value
    kind, ids = KINDS[pattern], value.split("/")
    if len(ids) != pattern.count("{}") - 1:
        raise InvalidArgumentError(
            f'"{value[:200]}" does not name a {kind.what}: write it like {kind.example}.',
            name=value[:200],
        )
    last = ids.pop() if kind.numbered else None
    words = [WHAT[word] for word in pattern.split("/")[2::2]]
    for given, what in zip(ids, words, strict=False):
        check_id(given, what)
    if last is not None:
        if not _NUMBER.fullmatch(last) and not (pattern == VERSION and last == _LATEST):
            raise InvalidArgumentError(
                f'"{value[:200]}" does not name a {kind.what}: "{last[:_SHOWN]}" is not a number'
                f"{' without leading zeros' if last.isdecimal() else ''}. Write it like "
                f"{kind.example}.",
                name=value[:200],
            )
        ids.append(last)
    return pattern.format(project, *ids)


def short(name: str) -> str:
    """The short form of a full name, without its project: "m/3" for a model version."""
    return "/".join(name.split("/")[1::2] if name.count("/") == 1 else name.split("/")[3::2])


def shortened(text: str, project: str) -> str:
    """A text for people in which the full names of a project's resources are short ones."""
    full = rf"(?<![\w/])projects/{re.escape(project)}((?:/[A-Za-z]+/[a-z0-9][a-z0-9_-]*)+)"
    return re.sub(full, lambda found: "/".join(found.group(1).split("/")[2::2]), text)


def command(verb: str, name: str, *more: str) -> str:
    """What a person types to do something with a resource.

    Args:
        verb: Of the command line, such as ``job retry``.
        name: The full name of the resource.
        more: Further words.
    """
    return " ".join([f"biosegment {_globally(name)}{verb}", short(name), *more])


def _globally(name: str) -> str:
    """The option that says which project is meant, where it is not the usual one."""
    project = name.split("/")[1]
    usual = project == DEFAULT_PROJECT or name.count("/") == 1
    return "" if usual else f"--project {project} "


def not_found(pattern: str, name: str, known: Iterable[str] = ()) -> NotFoundError:
    """The error for a resource that is not there. It names those that are called much alike.

    Args:
        pattern: One of this module's patterns.
        name: The full name.
        known: The full names of those that there are, as many as are worth comparing.
    """
    from difflib import get_close_matches

    kind, there = KINDS[pattern], [short(each) for each in known]
    wanted = short(name)
    alike = get_close_matches(wanted, there, _ALIKE)
    place = "" if pattern == PROJECT else f' in the project "{name.split("/")[1]}"'
    globally = _globally(name)
    shows = f"biosegment {globally}{kind.list_command.format(wanted.rpartition('/')[0])}"
    sentences = [f'There is no {kind.what} "{wanted}"{place}.']
    if alike:
        sentences.append(f"Did you mean {' or '.join(alike)}?")
    if there or not kind.make_command:
        sentences.append(f"`{shows}` shows those there are.")
    else:
        sentences.append(f"Make one with: biosegment {globally}{kind.make_command}")
    return NotFoundError(" ".join(sentences), name=name)


def parse_int(pattern: str, name: str) -> tuple[str, int]:
    """Like parse, for a name of which the last id is a number: (all before it joined by "/", it).

    Raises:
        InvalidArgumentError: The name does not follow the pattern, or ends in no number.
    """
    ids = parse(pattern, name)
    if not _NUMBER.fullmatch(ids[-1]):
        raise InvalidArgumentError(
            f'"{name[:200]}" must end in a number without leading zeros.', name=name[:200]
        )
    return "/".join(ids[:-1]), int(ids[-1])


def project_of(name: str) -> str:
    """The project (projects/p) that a resource belongs to.

    Raises:
        InvalidArgumentError: The name does not begin with projects/p.
    """
    return PROJECT.format(*parse(PROJECT, "/".join(name.split("/")[:2])))
