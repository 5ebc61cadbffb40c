"""Resource names: building and taking apart ``projects/p/datasets/d`` and the like (AIP-122)."""

import re

from biosegment.client.errors import InvalidArgumentError

_ID = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")
# 18 digits are what 64 bits always hold.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")

DEFAULT_PROJECT = "default"
"""Where short names belong unless said otherwise."""
PROJECT = "projects/{}"
DATASET = "projects/{}/datasets/{}"
ANNOTATION = "projects/{}/datasets/{}/annotations/{}"
SEGMENTATION = "projects/{}/datasets/{}/segmentations/{}"
VOLUME = "projects/{}/volumes/{}"
LABEL_CLASS = "projects/{}/labelClasses/{}"
MODEL = "projects/{}/models/{}"
VERSION = "projects/{}/models/{}/versions/{}"
CAMPAIGN = "projects/{}/campaigns/{}"
ROUND = "projects/{}/campaigns/{}/rounds/{}"
PROPOSAL = "projects/{}/campaigns/{}/proposals/{}"
JOB = "projects/{}/jobs/{}"


def check_id(value: str, what: str = "name") -> str:
    """Returns the id if it is a legal one: a-z, 0-9, "-" and "_", at most 63 characters.

    Raises:
        InvalidArgumentError: It is not.
    """
    if not _ID.fullmatch(value):
        raise InvalidArgumentError(
            f'"{value[:80]}" cannot be a {what}: use a-z, 0-9, "-" and "_", begin and end with a '
            "letter or digit, at most 63 characters.",
            value=value[:80],
        )
    return value


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
    matches = len(wanted) == len(given) and all(
        w == g or (w == "{}" and _ID.fullmatch(g)) for w, g in zip(wanted, given, strict=True)
    )
    if not matches:
        shape = "/".join("…" if part == "{}" else part for part in wanted)
        raise InvalidArgumentError(f'"{name[:200]}" is not a name like {shape}.', name=name[:200])
    return tuple(g for w, g in zip(wanted, given, strict=True) if w == "{}")


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
    ids = value.split("/")
    if len(ids) != pattern.count("{}") - 1 or not all(_ID.fullmatch(part) for part in ids):
        full = "/".join("…" if part == "{}" else part for part in pattern.split("/"))
        short = "/".join("…" for _ in range(pattern.count("{}") - 1))
        raise InvalidArgumentError(
            f'"{value[:200]}" is not a name like {short} or {full}.', name=value[:200]
        )
    return pattern.format(project, *ids)


def short(name: str) -> str:
    """The ids after the project joined by "/", as ``expand`` takes them."""
    return "/".join(name.split("/")[3::2])


def command(verb: str, name: str, *more: str) -> str:
    """What a person types to do something with a resource.

    Args:
        verb: Of the command line, such as ``job retry``.
        name: The full name of the resource.
        more: Further words.
    """
    project = name.split("/")[1]
    words = ["biosegment", verb, short(name), *more]
    if project != DEFAULT_PROJECT:
        words.insert(1, f"--project {project}")
    return " ".join(words)


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
