"""Which files of a folder are the sections of one stack, in which order, and which are missing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd

_MAX_NAMED = 6


@dataclass(frozen=True, slots=True)
class Numbered:
    """The names of a stack's files.

    Attributes:
        names: In order.
        before: For each name, how many numbers are missing right before it.
        missing: Names that should be there, at most 6; without their ending.
        count: How many are missing.
        strays: Names that do not belong to the others.
        doubled: Two names of one number, if there are any.
        unclear: Whether the names count along several axes, so that none of them is the section.
        step: What the numbers grow by.
        plain: Whether the names carry no numbers that tell them apart.
    """

    names: tuple[str, ...]
    before: tuple[int, ...]
    missing: tuple[str, ...] = ()
    count: int = 0
    strays: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    unclear: bool = False
    step: int = 1
    plain: bool = False


def order(names: Sequence[str]) -> Numbered:
    """Sorts names as people count, and looks at their numbers.

    Names belong together when they differ in their numbers alone. Where several numbers differ, the
    one that counts the sections is the one without gaps, or with the fewest.

    Args:
        names: Of files, at least one.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(names, key=_natural):
        groups.setdefault(_texts(name), []).append(name)
    if len(groups) == len(names):
        in_order = tuple(sorted(names, key=_natural))
        return Numbered(in_order, (0,) * len(names), plain=len(names) > 1)
    mine = max(groups.values(), key=len)
    chosen = set(mine)
    strays = tuple(name for name in sorted(names, key=_natural) if name not in chosen)
    numbers = [_numbers(name) for name in mine]
    columns = [n for n in range(len(numbers[0])) if len({row[n] for row in numbers}) > 1]
    if not columns:  # 1.tif and 01.tif
        return Numbered(tuple(mine), (0,) * len(mine), strays=strays, doubled=tuple(mine[:2]))
    counting = [n for n in columns if len({row[n] for row in numbers}) == len(mine)]
    if not counting:
        doubled = _doubled(mine, numbers) if len(columns) == 1 else ()
        return Numbered(
            tuple(mine), (0,) * len(mine), strays=strays, doubled=doubled, unclear=not doubled
        )
    column = min(counting, key=lambda n: _holes([row[n] for row in numbers]))
    pairs = sorted(zip((row[column] for row in numbers), mine, strict=True))
    return _with_gaps(pairs, column, strays)


def _with_gaps(pairs: Sequence[tuple[int, str]], column: int, strays: tuple[str, ...]) -> Numbered:
    step = _step([number for number, _ in pairs])
    before, count = [0], 0
    missing: list[str] = []
    for (last, name), (number, _) in pairwise(pairs):
        absent = (number - last) // step - 1
        before.append(absent)
        named = range(1, min(absent, _MAX_NAMED - len(missing)) + 1)
        missing += [_renumbered(name, column, last + n * step) for n in named]
        count += absent
    names = tuple(name for _, name in pairs)
    return Numbered(names, tuple(before), tuple(missing), count, strays, step=step)


def _step(numbers: Sequence[int]) -> int:
    return gcd(*(after - before for before, after in pairwise(sorted(numbers)))) or 1


def _holes(numbers: Sequence[int]) -> int:
    return (max(numbers) - min(numbers)) // _step(numbers) + 1 - len(numbers)


def _doubled(names: Sequence[str], numbers: Sequence[list[int]]) -> tuple[str, ...]:
    seen: dict[tuple[int, ...], str] = {}
    for name, row in zip(names, numbers, strict=True):
        if (other := seen.setdefault(tuple(row), name)) != name:
            return other, name
    return ()


def _parts(name: str) -> list[str]:
    """Texts and numbers in turn, without the ending: of two endings, .tif and .tiff, both count."""
    return re.split(r"(\d+)", name.rpartition(".")[0] or name)


def _texts(name: str) -> tuple[str, ...]:
    return tuple(part.lower() for part in _parts(name)[::2])


def _numbers(name: str) -> list[int]:
    return [int(part) for part in _parts(name)[1::2]]


def _renumbered(name: str, column: int, number: int) -> str:
    parts = _parts(name)
    parts[2 * column + 1] = str(number).zfill(len(parts[2 * column + 1]))
    return "".join(parts)


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = enumerate(re.split(r"(\d+)", name))
    return [(0, int(part), part) if n % 2 else (1, 0, part.lower()) for n, part in parts]
