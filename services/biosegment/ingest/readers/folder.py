"""From a path to a stack: one file, or the files of a folder behind each other."""

import fnmatch
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from biosegment.client.errors import InvalidArgumentError
from biosegment.ingest.readers import numbering
from biosegment.ingest.readers.base import Reading, Sections, Stack, no_file
from biosegment.ingest.readers.table import reader_of, suffixes
from biosegment.ingest.voxel_size import Found
from biosegment.v1 import jobs_pb2

_MAX_NAMED = 4
_NOT_LABELLED = 255


def scan(
    path: Path,
    reading: Reading,
    allow: Callable[[str], Path],
    check: Callable[[], None] = lambda: None,
) -> Stack:
    """Looks at the headers of a stack, without reading its voxels.

    Args:
        path: A file, or a folder of files.
        reading: Answers to what the files leave open.
        allow: Returns the real path of a file that may be read; links in the folder may lead out.
        check: Called for each file; raises to stop.

    Raises:
        InvalidArgumentError: There is no readable stack; the sentence says what settles it.
        PathNotAllowedError: A file lies outside the allowed roots.
    """
    mode = path.stat().st_mode
    if not stat.S_ISDIR(mode):
        if not stat.S_ISREG(mode):
            raise no_file(path, mode)
        part = reader_of(path).scan(path, reading, in_folder=False)
        return Stack((part,), part.shape, part.dtype, part.voxel_size, part.warnings)
    names = _names(path, reading)
    numbered = numbering.order(names)
    _check_names(path, numbered, reading)
    parts = []
    for file in [allow(str(path / name)) for name in numbered.names]:
        check()
        parts.append(reader_of(file).scan(file, reading, in_folder=True))
    _check_alike(parts)
    return _joined(path, parts, numbered, reading)


def _names(path: Path, reading: Reading) -> list[str]:
    known = suffixes()
    every = [entry.name for entry in path.iterdir() if not entry.name.startswith(".")]
    found = [name for name in every if Path(name).suffix.lower() in known]
    if not found:
        raise InvalidArgumentError(f"The folder {path} holds no .tif or .tiff file.", path=path)
    if not reading.files:
        return found
    chosen = fnmatch.filter(found, reading.files)
    if not chosen:
        raise InvalidArgumentError(
            f'No file of {path} matches --files "{reading.files}"; there is {_some(found)}.',
            path=path,
        )
    return chosen


def _check_names(path: Path, numbered: numbering.Numbered, reading: Reading) -> None:
    if numbered.strays:
        raise InvalidArgumentError(
            f"The files of {path} do not all belong together: {len(numbered.names)} are named like "
            f"{numbered.names[0]}, but not {_some(numbered.strays)}. Say which are meant with "
            f'--files "{_pattern(numbered.names)}", or another pattern.',
            path=path,
        )
    if reading.gaps == jobs_pb2.GAP_POLICY_CLOSE:
        return
    if numbered.doubled:
        raise InvalidArgumentError(
            f"{' and '.join(numbered.doubled)} in {path} have the same number. Say which is meant "
            "with --files, or take both with --gaps close.",
            path=path,
        )
    if numbered.unclear:
        raise InvalidArgumentError(
            f"The files of {path} are numbered in several ways at once, from {numbered.names[0]} "
            f"to {numbered.names[-1]}: channels or times beside the sections, it seems. Say which "
            "are meant with --files, or take all in the order of their names with --gaps close.",
            path=path,
        )
    if numbered.count and reading.gaps != jobs_pb2.GAP_POLICY_FILL:
        raise InvalidArgumentError(
            f"{_listed(numbered.missing, numbered.count)} missing in {path}. Add what is missing, "
            "go on without with --gaps close, or have empty sections put there with --gaps fill.",
            path=path,
        )


def _check_alike(parts: Sequence[Sections]) -> None:
    first = parts[0]
    for part in parts:
        if part.shape[1:] != first.shape[1:] or part.dtype != first.dtype:
            raise InvalidArgumentError(
                f"{part.file} is {_describe(part)}, but {first.file.name} is {_describe(first)}; "
                "all files of a stack must have one size and type.",
                path=part.file,
            )


def _joined(
    path: Path, parts: Sequence[Sections], numbered: numbering.Numbered, reading: Reading
) -> Stack:
    warnings = list(_told(path, parts, numbered, reading))
    placed: list[Sections | int] = []
    fill = reading.gaps == jobs_pb2.GAP_POLICY_FILL
    several = next((part for part in parts if part.shape[0] != 1), None)
    if fill and numbered.count and several is not None:
        raise InvalidArgumentError(
            f"{_listed(numbered.missing, numbered.count)} missing in {path}, and nobody knows how "
            f"many sections that is: {several.file.name} holds {several.shape[0]}. --gaps fill "
            "takes files of one section each.",
            path=path,
        )
    for part, missing in zip(parts, numbered.before, strict=True):
        if fill and missing:
            placed.append(missing)
        placed.append(part)
    first = parts[0]
    depth = sum(part if isinstance(part, int) else part.shape[0] for part in placed)
    return Stack(
        tuple(placed),
        (depth, *first.shape[1:]),
        first.dtype,
        first.voxel_size,
        tuple(warnings),
        _NOT_LABELLED if reading.labels else 0,
    )


def _told(
    path: Path, parts: Sequence[Sections], numbered: numbering.Numbered, reading: Reading
) -> list[str]:
    told = []
    if numbered.plain:
        told.append(f"The files of {path} are not numbered; they were taken by their names.")
    if numbered.step > 1 and all(part.shape[0] == 1 for part in parts):
        told.append(
            f"The files of {path} are numbered in steps of {numbered.step}; they were taken as "
            "neighbouring sections."
        )
    if numbered.count and reading.gaps == jobs_pb2.GAP_POLICY_FILL:
        what = "not labelled" if reading.labels else "black"
        told.append(
            f"{_listed(numbered.missing, numbered.count)} missing in {path}; {numbered.count} "
            f"{what} section(s) were put there."
        )
    elif numbered.count:
        told.append(
            f"{_listed(numbered.missing, numbered.count)} missing in {path}; the sections that are "
            "there follow each other."
        )
    # Of a thousand files that say the same of themselves, the first is enough.
    seen: set[str] = set()
    for part in parts:
        for warning in part.warnings:
            text = warning.replace(str(part.file), "")
            if text not in seen:
                seen.add(text)
                told.append(warning)
    other = next((part for part in parts if _unlike(part.voxel_size, parts[0].voxel_size)), None)
    if other is not None:
        told.append(
            f"{other.file.name} and {parts[0].file.name} say different things of the size of their "
            "voxels; the latter was believed."
        )
    return told


def _unlike(one: Found, other: Found) -> bool:
    return any(
        a is not None and b is not None and abs(a - b) > 0.01 * max(a, b)
        for a, b in zip(one, other, strict=True)
    )


def _describe(part: Sections) -> str:
    return f"{part.shape[1]} × {part.shape[2]} of {part.dtype.name}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


def _listed(missing: Sequence[str], count: int) -> str:
    """The missing names as the subject of a sentence, with its verb."""
    if count > len(missing):
        return f"{', '.join(missing)} and {count - len(missing)} more are"
    if count == 1:
        return f"{missing[0]} is"
    return f"{', '.join(missing[:-1])} and {missing[-1]} are"


def _pattern(names: Sequence[str]) -> str:
    """A pattern for names that differ in numbers: their common beginning and ending."""
    first, last = names[0], names[-1]
    begin = 0
    while begin < min(len(first), len(last)) and first[begin] == last[begin]:
        begin += 1
    head = first[:begin].rstrip("0123456789")
    return f"{head}*{Path(first).suffix}"
