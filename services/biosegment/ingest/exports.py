"""Checks an export before there is a job, and puts what it wrote in its place."""

import errno
import json
import os
import shutil
from pathlib import Path

from biosegment.client import arrays, names
from biosegment.client.complete import check_complete
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.stubs import AsyncStubs
from biosegment.ingest import tiff_target
from biosegment.ingest.roots import Roots, taken
from biosegment.v1 import jobs_pb2, storage_pb2

FORMATS = ("tiff", "ome-zarr")
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


async def plan(stubs: AsyncStubs, roots: Roots, parent: str, spec: jobs_pb2.ExportSpec) -> None:
    """Checks everything about an export that can be known beforehand.

    Raises:
        InvalidArgumentError: The format is unknown or does not fit the volume.
        PathNotAllowedError: The destination lies outside the roots.
        AlreadyExistsError: Something is at the destination.
        NotFoundError: There is no such volume.
        FailedPreconditionError: The volume is not complete.
    """
    names.parse(names.PROJECT, parent)
    names.parse(names.VOLUME, spec.volume)
    if names.project_of(spec.volume) != parent:
        raise InvalidArgumentError(f"{spec.volume} does not belong to {parent}.", name=spec.volume)
    if spec.format not in FORMATS:
        raise InvalidArgumentError(
            f'"{spec.format[:40]}" is not a format to export; use {" or ".join(FORMATS)}.',
            field="spec.format",
        )
    roots.new(spec.destination_path)
    answer = await stubs.storage.GetVolume(storage_pb2.GetVolumeRequest(name=spec.volume))
    volume = check_complete(answer.volume)
    if spec.format == "tiff":
        tiff_target.check(volume, arrays.dtype_of(volume.data_type))


def _id(job: str) -> str:
    return job.rpartition("/")[2]


def draft_path(destination: Path, job: str, attempt: int) -> Path:
    """The temporary path of one attempt, beside the destination.

    Args:
        destination: Where the export will be.
        job: projects/p/jobs/j
        attempt: Of the job.
    """
    return destination.with_name(f".{destination.name}.{_id(job)}-{attempt}.part")


def remove_drafts(destination: Path, job: str) -> None:
    """Removes what attempts of a job left beside the destination."""
    ours = f".{destination.name}.{_id(job)}-"
    for path in destination.parent.iterdir() if destination.parent.is_dir() else ():
        if path.name.startswith(ours) and path.suffix == ".part":
            remove(path)


def remove(path: Path) -> None:
    """Removes a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def place(draft: Path, destination: Path, job: str, size: int) -> None:
    """Puts a finished draft at its destination.

    What it is, is noted beside it before: an attempt that is killed right afterwards has told
    nobody, and the next one knows the output for its own job's.

    Args:
        draft: File or folder; gone afterwards.
        destination: Beside it.
        job: projects/p/jobs/j
        size: Bytes on disk.

    Raises:
        AlreadyExistsError: Something else came there meanwhile.
    """
    if placed(destination, job) is not None:
        remove(draft)  # By an attempt that had lost its lease.
        return
    note = _note(destination, job)
    note.write_text(json.dumps({"size": size, "identity": _identity(draft)}))
    try:
        _move(draft, destination)
    except OSError:
        note.unlink(missing_ok=True)
        if os.path.lexists(destination):
            raise taken(str(destination)) from None
        raise


def placed(destination: Path, job: str) -> int | None:
    """Bytes on disk of what an attempt of the job has put there; None if none has."""
    try:
        noted = json.loads(_note(destination, job).read_text())
        ours = noted["identity"] == _identity(destination)
        return int(noted["size"]) if ours else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget(destination: Path, job: str) -> None:
    """Removes the note of what the job has put there, once nobody will ask for it."""
    _note(destination, job).unlink(missing_ok=True)


def _note(destination: Path, job: str) -> Path:
    return destination.with_name(f".{destination.name}.{_id(job)}.placed")


def _identity(path: Path) -> list[int]:
    # The number of a file that was deleted is soon given to another one, hence the time.
    status = path.lstat()
    return [status.st_ino, status.st_mtime_ns]


def _move(draft: Path, destination: Path) -> None:
    """Renames without replacing anything; a folder with something in it is never replaced."""
    if not draft.is_dir():
        try:
            os.link(draft, destination)
        except OSError as error:
            if error.errno not in _NO_LINKS or os.path.lexists(destination):
                raise
        else:
            draft.unlink()
            return
    elif os.path.lexists(destination):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(destination))
    draft.rename(destination)
