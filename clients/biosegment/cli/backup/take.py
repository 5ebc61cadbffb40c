"""Takes a backup of a home, whether its platform runs or not."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from biosegment.cli.backup.folder import BackupFolder, Manifest, trouble
from biosegment.cli.output import tell
from biosegment.cli.up.home import Home
from biosegment.client.errors import FailedPreconditionError, InternalError

_TRIES = 3
"""What is deleted while it is copied makes the copy begin anew, with a new record."""
_REFUSED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a backup holds now.

    Attributes:
        manifest: As noted in its folder.
        files: How many files of arrays and objects.
        size: Their bytes.
        fetched: How many of them were not there before.
    """

    manifest: Manifest
    files: int
    size: int
    fetched: int


def take(home: Home, target: Path, *, endpoint: str, region: str) -> Taken:
    """Copies record, arrays and objects.

    Every commit that was acknowledged before is in the copy, and everything that its record names.

    Raises:
        FailedPreconditionError: There is no home, the folder cannot take this backup, or its disk
            is full; the backup that it had before, if any, still counts.
    """
    if not home.database.is_file():
        raise FailedPreconditionError(
            f"There is no platform's home at {home.folder}; name it with --home.",
            path=home.folder,
        )
    folder = BackupFolder(target)
    place = home.arrays.place(None)
    _refuse_nesting(folder.folder, [home.folder, *([] if "://" in place else [Path(place)])])
    try:
        return _take(home, folder, place, endpoint, region)
    except OSError as error:
        raise trouble(error, folder.folder) from None


def _take(home: Home, folder: BackupFolder, place: str, endpoint: str, region: str) -> Taken:
    with folder.locked():
        store = (place, endpoint, region)
        before = _run("biosegment.storage.backup", "list", *store)
        folder.begin(before["identity"])
        for tries_left in reversed(range(_TRIES)):
            token = uuid.uuid4().hex[:8]
            record = folder.folder / f"registry-{token}.sqlite"
            tell("Copying the record …")
            moment = datetime.now(UTC).isoformat(timespec="seconds")
            named = _run("biosegment.registry.backup", str(home.database), str(record))
            sha256, annotations = named.pop("sha256"), named.pop("annotations")
            named["volumes"] = sorted({*named["volumes"], *before["volumes"]})
            tell("Copying arrays and objects …")
            copied = _run(
                "biosegment.storage.backup", "copy", *store, str(folder.store), given=named
            )
            if not copied["missing"] or not tries_left:
                break
            record.unlink()
        manifest = Manifest(
            identity=before["identity"],
            complete=True,
            time=moment,
            record=record.name,
            record_sha256=sha256,
            listing=f"files-{token}.json",
            annotations=annotations,
            missing=tuple(copied["missing"]),
        )
        os.sync()
        folder.finish(manifest, copied["files"])
    return Taken(
        manifest=manifest,
        files=len(copied["files"]),
        size=sum(copied["files"].values()),
        fetched=copied["fetched"],
    )


def _refuse_nesting(target: Path, places: Sequence[Path]) -> None:
    real = Path(os.path.realpath(target))
    for place in places:
        known = Path(os.path.realpath(place))
        if real.is_relative_to(known) or known.is_relative_to(real):
            raise FailedPreconditionError(
                f"{target} lies in {place}, or that in it: a backup is of no use there. Name "
                "another folder, on another disk if there is one.",
                path=target,
            )


def _run(module: str, *arguments: str, given: Any = None) -> Any:
    """Runs a part of a service, which may import what the CLI does not.

    Args:
        module: Its progress is lines that begin with a space, its errors are other lines.
        arguments: Of the command.
        given: Goes to it as JSON.

    Returns:
        What it answers, from JSON.

    Raises:
        FailedPreconditionError: It was refused.
        InternalError: It ended in a way that nobody foresaw.
    """
    said = ""
    with TemporaryFile("w+") as question, TemporaryFile("w+") as answer:
        json.dump(given, question)
        question.seek(0)
        with subprocess.Popen(  # noqa: S603 - our own modules
            [sys.executable, "-m", module, *arguments],
            stdin=question,
            stdout=answer,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("  ") and not said:
                    tell(line.rstrip())
                else:
                    said += line
        if process.returncode == _REFUSED:
            raise FailedPreconditionError(said.strip())
        if process.returncode != 0:
            raise InternalError(f"{module} failed: {said.strip()[-2000:]}")
        answer.seek(0)
        return json.load(answer)
