"""The folder of one platform: its lock, its token, its files."""

import fcntl
import os
import secrets
from pathlib import Path
from typing import IO

from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError


class Home:
    """One platform's folder; only its owner can look into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self._lock: IO[str] | None = None

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
    def store(self) -> Path:
        """The arrays, unless they are elsewhere; the storage service makes it."""
        return self.folder / "store"

    def place_of_store(self, given: str | None) -> str:
        """Where the arrays lie: as given, else as the last time, else in this folder.

        Args:
            given: A folder or an address; None or empty where nothing was said.

        Raises:
            FailedPreconditionError: The record of this home belongs to arrays elsewhere.
        """
        before = self._store_note.read_text().strip() if self._store_note.exists() else ""
        if not before and self.store.is_dir():
            before = str(self.store)
        if not given:
            return before or str(self.store)
        place = given.rstrip("/") if "://" in given else str(Path(given).expanduser().absolute())
        if before and place != before:
            raise FailedPreconditionError(
                f"The record in {self.folder} is about arrays in {before}, not in {place}. Leave "
                f"--store out, choose another --home, or, if the arrays were moved there, write "
                f"that into {self._store_note}.",
                path=self.folder,
            )
        return place

    def keep_place_of_store(self, place: str) -> None:
        """Notes where the arrays lie, once it is known that they can."""
        self._store_note.write_text(place + "\n")

    @property
    def _store_note(self) -> Path:
        return self.folder / "store-place"

    @property
    def database(self) -> Path:
        """The record."""
        return self.folder / "registry.sqlite"

    def lock(self) -> None:
        """Takes the folder for this process, and makes it where it does not exist.

        Raises:
            FailedPreconditionError: Another platform runs on it.
            InvalidArgumentError: The folder cannot be made or written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            for folder in (self.logs, self.nats):
                folder.mkdir(exist_ok=True)
            file = (self.folder / "lock").open("a+")
        except OSError as error:
            raise InvalidArgumentError(
                f"{self.folder} cannot be the platform's home: {error.strerror or error}.",
                path=self.folder,
            ) from None
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
