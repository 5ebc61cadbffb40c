"""The folder of a backup, and what it says of itself.

The manifest names the record and the list of files that belong together, and is replaced as the
last thing: an attempt that is cut off leaves the backup before it as it was.
"""

import errno
import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from biosegment.client.errors import FailedPreconditionError

_FORMAT = 1
_MANIFEST = "backup.json"
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup holds.

    Attributes:
        identity: Of the store that it is a copy of.
        complete: Whether there is a whole backup; else only an attempt at one.
        time: When its record was copied, UTC.
        record: File of the record, in the folder.
        record_sha256: Of that file.
        listing: File with the bytes of each file below the store's folder, in the folder.
        annotations: How many commits the record has.
        missing: What the record names, and the platform itself did not have.
    """

    identity: str
    complete: bool = False
    time: str = ""
    record: str = ""
    record_sha256: str = ""
    listing: str = ""
    annotations: int = 0
    missing: tuple[str, ...] = ()


class BackupFolder:
    """A folder with a backup, or for one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()

    @property
    def store(self) -> Path:
        """The arrays and objects."""
        return self.folder / "store"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While nobody else works on it; the folder is made where it does not exist.

        Raises:
            FailedPreconditionError: It holds other people's files, or another backup is being
                taken.
        """
        there = [path.name for path in self.folder.iterdir()] if self.folder.exists() else []
        if there and _MANIFEST not in there and set(there) != {"lock"}:
            raise FailedPreconditionError(
                f"{self.folder} holds files that no backup made ({min(there)}); name a new folder.",
                path=self.folder,
            )
        if not self.folder.exists():
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise FailedPreconditionError(
                    f"Another backup into {self.folder} is being taken or restored.",
                    path=self.folder,
                ) from None
            yield

    def manifest(self) -> Manifest | None:
        """What is there, None where there was no backup yet.

        Raises:
            FailedPreconditionError: It is damaged, or of a newer release.
        """
        try:
            content = json.loads((self.folder / _MANIFEST).read_text())
            if content.pop("format") != _FORMAT:
                raise FailedPreconditionError(
                    f"The backup in {self.folder} was made by a newer release; install that one.",
                    path=self.folder,
                )
            return Manifest(**{**content, "missing": tuple(content["missing"])})
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise FailedPreconditionError(
                f"{self.folder / _MANIFEST} is damaged; name another folder.", path=self.folder
            ) from None

    def begin(self, identity: str) -> None:
        """Says whose backup this is to be.

        Raises:
            FailedPreconditionError: It is the backup of another platform.
        """
        known = self.manifest()
        if known is None:
            self._save(Manifest(identity=identity))
        elif known.identity != identity:
            raise FailedPreconditionError(
                f"{self.folder} is the backup of another platform, or of one that was restored "
                "since; name a new folder.",
                path=self.folder,
            )

    def finish(self, manifest: Manifest, files: dict[str, int]) -> None:
        """Makes a new backup the one that counts, and removes what belonged to the one before."""
        self.write(manifest.listing, json.dumps(files).encode())
        self._save(manifest)
        kept = {_MANIFEST, "lock", "store", manifest.record, manifest.listing}
        for path in self.folder.iterdir():
            if path.name not in kept:
                path.unlink()
        for path in sorted(self.store.rglob("*"), reverse=True):
            if path.is_dir():
                with suppress(OSError):  # Not empty.
                    path.rmdir()
            elif path.relative_to(self.store).as_posix() not in files:
                path.unlink()

    def files(self, manifest: Manifest) -> dict[str, int]:
        """Bytes of each file of a whole backup, by its path below the store's folder.

        Raises:
            FailedPreconditionError: Something of the backup is missing or damaged.
        """
        with suppress(OSError, ValueError):
            found: dict[str, int] = json.loads((self.folder / manifest.listing).read_text())
            for name, size in found.items():
                if not _has(self.store / name, size):
                    raise FailedPreconditionError(
                        f"The backup is damaged: {self.store / name} has not the {size} bytes "
                        "that it should.",
                        path=self.folder,
                    )
            if sha256(self.folder / manifest.record) == manifest.record_sha256:
                return found
        raise FailedPreconditionError(
            f"The backup in {self.folder} is damaged: its record or its list of files is not what "
            "it was.",
            path=self.folder,
        )

    def write(self, name: str, data: bytes) -> None:
        """Writes a file of the folder, whole or not at all."""
        draft = self.folder / f"{name}.new"
        draft.write_bytes(data)
        draft.replace(self.folder / name)

    def _save(self, manifest: Manifest) -> None:
        content: dict[str, Any] = {"format": _FORMAT, **asdict(manifest)}
        self.write(_MANIFEST, json.dumps(content, indent=2).encode())


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy(source: Path, target: Path, *, mode: int = 0o644) -> None:
    """Copies a file, whole or not at all, unless it is there already."""
    stat = source.stat()
    with suppress(FileNotFoundError):
        there = target.stat()
        if (there.st_size, there.st_mtime_ns) == (stat.st_size, stat.st_mtime_ns):
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.copy")
    draft.touch(mode)
    draft.chmod(mode)
    with source.open("rb") as given, draft.open("wb") as made:
        shutil.copyfileobj(given, made, _PIECE)
    shutil.copystat(source, draft)
    draft.chmod(mode)
    draft.replace(target)


def trouble(error: OSError, folder: Path) -> FailedPreconditionError:
    """What a person can do about a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FailedPreconditionError(
            f"The disk of {folder} is full. Make room there and run the same again; what is there "
            "already is not copied anew.",
            path=folder,
        )
    return FailedPreconditionError(
        f"{error.filename or folder} cannot be written: {error.strerror or error}.", path=folder
    )


def _has(path: Path, size: int) -> bool:
    with suppress(OSError):
        return path.stat().st_size == size
    return False
