"""Temporary folders of trainings, and what killed ones have left."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from biosegment.runtime import log

PREFIX = "biosegment-train-"
_LOCK = "lock"
_AGE_SECONDS = 600.0
_log = log.get(__name__)


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder that is known to be in use, from any process on this machine."""
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX) as name,
        (Path(name) / _LOCK).open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(name)


def clean() -> int:
    """Removes what trainings that were killed have left; how many folders.

    Those of other platforms, which are in use, stay, as do those that were just made.
    """
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            info = folder.lstat()
            if info.st_uid != os.getuid() or folder.is_symlink() or not folder.is_dir():
                continue
            if time.time() - info.st_mtime < _AGE_SECONDS:
                continue
            with (folder / _LOCK).open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            removed += 1
        except OSError as error:
            # In use, or gone by now.
            _log.debug("scratch.kept", folder=str(folder), reason=str(error))
    if removed:
        _log.info("scratch.cleaned", folders=removed)
    return removed
