"""How the values of a store are listed and copied into files: from a folder, or by their keys."""

import asyncio
import os
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from biosegment.storage.store import LOCK_SUFFIX, Store

_DRAFT = ".{}.copy"
_INDEX = "index"


class Source(ABC):
    """Where values are copied from."""

    @abstractmethod
    async def index(self) -> list[tuple[str, str]]:
        """The project and the file name of each volume."""

    @abstractmethod
    async def keys(self, prefix: str) -> list[tuple[str, Any]]:
        """Each key that begins with a prefix, in order, with a stamp that changes with its value.

        The stamp is None where there is no such thing.
        """

    @abstractmethod
    def is_there(self, stamp: Any, path: Path, *, kept: bool) -> bool:
        """Whether a file is the copy of a value.

        Args:
            stamp: Of the value.
            path: The file, which may not be there.
            kept: Whether values under this key stay what they are.
        """

    @abstractmethod
    async def fetch(self, key: str, stamp: Any, path: Path) -> bool:
        """Copies a value into a file, whole or not at all; False where it is gone."""


class Folder(Source):
    """Files; a copy has the size and the time of change of its original."""

    def __init__(self, base: Path) -> None:
        self._base = base

    async def index(self) -> list[tuple[str, str]]:
        """The project and the file name of each volume."""
        return sorted(
            (path.parent.parent.name, path.name)
            for path in self._base.glob(f"*/{_INDEX}/*")
            if not path.name.endswith(LOCK_SUFFIX)
        )

    async def keys(self, prefix: str) -> list[tuple[str, Any]]:
        """Keys with the size and the time of change of their files."""
        return await asyncio.to_thread(self._keys, prefix)

    def _keys(self, prefix: str) -> list[tuple[str, Any]]:
        found = []
        for folder, _, files in os.walk(self._base / prefix):
            for name in files:
                path = Path(folder, name)
                if name.endswith(LOCK_SUFFIX):
                    continue
                try:
                    stat = path.stat()
                except FileNotFoundError:
                    continue
                key = path.relative_to(self._base).as_posix()
                found.append((key, (stat.st_size, stat.st_mtime_ns)))
        return sorted(found)

    def is_there(self, stamp: Any, path: Path, *, kept: bool) -> bool:
        """Whether size and time of change are the same."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            return False
        return bool(stamp == (stat.st_size, stat.st_mtime_ns))

    async def fetch(self, key: str, stamp: Any, path: Path) -> bool:
        """Copies a file. The store replaces files and never changes one, so it is of one piece."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(_DRAFT.format(path.name))
        try:
            with (self._base / key).open("rb") as source, draft.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
                stat = os.fstat(source.fileno())
        except FileNotFoundError:
            if (self._base / key).exists():
                raise
            draft.unlink(missing_ok=True)
            return False
        os.utime(draft, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        draft.replace(path)
        return True


class KeyValues(Source):
    """Anything else, such as a bucket."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def index(self) -> list[tuple[str, str]]:
        """The project and the file name of each volume."""
        parts = [key.split("/") for key in await self._store.keys("")]
        return [(part[0], part[2]) for part in parts if len(part) == 3 and part[1] == _INDEX]

    async def keys(self, prefix: str) -> list[tuple[str, Any]]:
        """Keys without a stamp."""
        return [(prefix + key, None) for key in await self._store.keys(prefix)]

    def is_there(self, stamp: Any, path: Path, *, kept: bool) -> bool:
        """Whether there is a copy of what stays what it is."""
        return kept and path.is_file()

    async def fetch(self, key: str, stamp: Any, path: Path) -> bool:
        """Reads the value and writes it."""
        data = await self._store.read(key)
        if data is None:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(_DRAFT.format(path.name))
        draft.write_bytes(data)
        draft.replace(path)
        return True
