"""Puts what an export wrote in its place, once, whoever is killed meanwhile."""

import errno
import json
import os
import shutil
from pathlib import Path

from biosegment.ingest.roots import taken

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


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
