"""The folder of one platform: its lock, its token, its files."""

import fcntl
import os
import secrets
import shutil
from pathlib import Path
from typing import IO

from biosegment.cli.up.store_note import StoreNote
from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError

_MARKS = frozenset({"registry.sqlite", "token", "bus-token", "store-place"})
"""What only a home has."""
_OURS = _MARKS | {
    "connection.json",
    "connection.json.new",
    "lock",
    "logs",
    "nats",
    "ports.json",
    "registry.sqlite-shm",
    "registry.sqlite-wal",
    "store",
    "store-sessions",
}
RESTORING = "restoring"
"""There while a backup is being restored into the home."""
_NOBODYS = frozenset({"lost+found"})
"""What an empty disk has."""
_LEFT = frozenset({"logs", "store-sessions"})
"""What stays of a first start that failed: the logs say why, and a store knows its sessions."""


class Home:
    """One platform's folder.

    A folder that is made here can be looked into by its owner only. One that was there keeps its
    rights; in it, what is secret can be read by its owner only.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self._lock: IO[str] | None = None
        self._new = False

    @property
    def connection(self) -> Path:
        """The connection file, there while the platform runs."""
        return self.folder / "connection.json"

    @property
    def logs(self) -> Path:
        """One log file per process."""
        return self.folder / "logs"

    @property
    def nats(self) -> Path:
        """The bus's streams and configuration."""
        return self.folder / "nats"

    @property
    def arrays(self) -> StoreNote:
        """Where the arrays lie, and when they were used last."""
        return StoreNote(self.folder)

    @property
    def store(self) -> Path:
        """The arrays, unless they are elsewhere."""
        return self.arrays.within

    @property
    def ports(self) -> Path:
        """The ports that the processes had the last time."""
        return self.folder / "ports.json"

    @property
    def database(self) -> Path:
        """The record."""
        return self.folder / "registry.sqlite"

    def lock(self) -> None:
        """Takes the folder for this process, and makes it where it does not exist.

        Raises:
            FailedPreconditionError: Another platform runs on it, or it holds other people's files.
            InvalidArgumentError: The folder cannot be made or written.
        """
        try:
            self._take()
        except OSError as error:
            raise InvalidArgumentError(
                f"{self.folder} cannot be the platform's home: {error.strerror or error}.",
                path=self.folder,
            ) from None

    def _take(self) -> None:
        self._refuse_other_folders()
        _private(self.folder)
        file = (self.folder / "lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = file.read(20).strip() or "unknown"
            file.close()
            raise FailedPreconditionError(
                f"A platform already runs on {self.folder} (process {owner}). Stop it, or choose "
                "another folder with --home.",
                path=self.folder,
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._lock = file
        for folder in (self.logs, self.nats):
            _private(folder)

    def _refuse_other_folders(self) -> None:
        if (self.folder / RESTORING).exists():
            raise FailedPreconditionError(
                f"The backup in {(self.folder / RESTORING).read_text().strip()} was not restored "
                f"to its end. Run it again: biosegment restore BACKUP --home {self.folder}",
                path=self.folder,
            )
        exists = self.folder.exists()
        there = {path.name for path in self.folder.iterdir()} if exists else set[str]()
        self._new = not there & _MARKS
        others = sorted(name for name in there - _OURS - _NOBODYS if not name.startswith("."))
        if self._new and others:
            raise FailedPreconditionError(
                f"{self.folder} is no platform's home and holds other files ({others[0]}). Name a "
                f"folder of its own with --home, such as {self.folder / 'biosegment'}.",
                path=self.folder,
            )

    @property
    def is_locked(self) -> bool:
        """Whether this process has it."""
        return self._lock is not None

    def prepare_record(self) -> None:
        """Makes the record's file where there is none, so that only its owner can read it."""
        # SQLite gives the files beside it the same rights.
        os.close(os.open(self.database, os.O_WRONLY | os.O_CREAT, 0o600))

    def discard(self) -> None:
        """Removes what a first start that failed has left; nothing from a home that was there."""
        if not self.is_locked or not self._new:
            return
        for name in _OURS - _LEFT:
            path = self.folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        for folder in (self.logs, self.folder):
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()

    def unlock(self) -> None:
        """Gives the folder free."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def secret(self, name: str) -> str:
        """A random token that stays the same as long as the folder lives."""
        path = self.folder / name
        if path.exists() and (kept := path.read_text().strip()):
            return kept
        made = secrets.token_urlsafe(32)
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(made)
        return made


def _private(folder: Path) -> None:
    """Makes a folder for its owner only; one that is there is left as it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
