"""``python -m biosegment.registry.backup RECORD COPY``: a copy of the record that is whole.

By SQLite's own online backup, so that the platform may run and commits may go on: the copy holds
every commit that was acknowledged before it began. What the copy names in the store is written to
stdout, as JSON.
"""

import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from biosegment.client.errors import DomainError, FailedPreconditionError, InvalidArgumentError
from biosegment.client.names import VOLUME, parse
from biosegment.v1 import jobs_pb2

_BUSY_SECONDS = 30.0


def copy(record: Path, target: Path) -> None:
    """Copies the record into a file of its own, replacing what is there.

    Raises:
        FailedPreconditionError: There is no record, it is damaged, or it cannot be copied.
    """
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with (
            closing(_opened(record, "rw")) as source,
            closing(sqlite3.connect(target)) as made,
        ):
            # All pages in one step: a commit in between would make it begin anew.
            source.backup(made)
            # The copy is one file, without another for what is not in it yet.
            made.execute("PRAGMA journal_mode=DELETE")
            (found,) = made.execute("PRAGMA integrity_check(1)").fetchone()
    except (sqlite3.Error, FailedPreconditionError) as error:
        target.unlink(missing_ok=True)
        if isinstance(error, FailedPreconditionError):
            raise
        raise FailedPreconditionError(f"The record {record} cannot be copied: {error}.") from None
    if found != "ok":
        target.unlink()
        raise FailedPreconditionError(f"The record {record} is damaged: {found}.")


def named(record: Path) -> dict[str, Any]:
    """What a record names in the store.

    Returns:
        "projects": their ids. "volumes": resource names of all volumes that are named anywhere,
        also of some that were deleted since. "needed": those that must be there. "views": views of
        the annotation log. "objects": those that must be there, with their SHA-256 or "".
    """
    with closing(_opened(record, "ro")) as source:
        projects = [name.split("/")[1] for (name,) in source.execute("SELECT name FROM project")]
        needed, views = set[str](), set[str]()
        for raw, labels, references in source.execute(
            "SELECT raw_volume, label_volume, reference_volumes FROM dataset"
        ):
            needed |= {raw, labels, *json.loads(references)}
            views.add(labels)
        needed |= {
            volume for (volume,) in source.execute("SELECT volume FROM segmentation WHERE complete")
        }
        objects = dict(source.execute("SELECT weights, sha256 FROM model_version"))
        volumes = set(needed)
        for (volume,) in source.execute("SELECT volume FROM segmentation"):
            volumes.add(volume)
        for spec, result in source.execute("SELECT spec, result FROM job"):
            volumes |= set(_volumes_of(jobs_pb2.Job.FromString(spec)))
            if result is not None:
                volumes |= set(_volumes_of(jobs_pb2.JobResult.FromString(result)))
        (annotations,) = source.execute("SELECT count(*) FROM annotation").fetchone()
    return {
        "projects": sorted(projects),
        "volumes": sorted(volumes - {""}),
        "needed": sorted(needed - {""}),
        "views": sorted(views - {""}),
        "objects": {name: digest for name, digest in sorted(objects.items()) if name},
        "annotations": annotations,
    }


def _opened(record: Path, mode: str) -> sqlite3.Connection:
    if not record.is_file():
        raise FailedPreconditionError(f"There is no record at {record}.")
    uri = f"{record.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)


def _volumes_of(message: Message) -> Iterator[str]:
    """Every name of a volume in a message, wherever it stands."""
    for field, value in message.ListFields():
        for item in value if field.is_repeated else [value]:
            if isinstance(item, Message):
                yield from _volumes_of(item)
            elif isinstance(item, str) and _is(item):
                yield item


def _is(text: str) -> bool:
    try:
        parse(VOLUME, text)
    except InvalidArgumentError:
        return False
    return True


def main() -> None:
    """Copies, checks, and tells what the copy names."""
    record, target = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        copy(record, target)
        found = named(target)
        with target.open("rb") as file:
            found["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    except DomainError as error:
        sys.stderr.write(f"{error.message}\n")
        raise SystemExit(2) from None
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
