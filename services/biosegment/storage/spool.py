"""Large values of the store as files, so that none is held in memory whole where that can be."""

import asyncio
import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

from biosegment.client.errors import (
    DomainError,
    FailedPreconditionError,
    ResourceExhaustedError,
    StoreError,
)
from biosegment.storage.store import LOCK_SUFFIX, Store

_SCRATCH = ".biosegment/spool"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_T = TypeVar("_T")
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


class Spool:
    """Moves values between a store and files without a name, which end with their process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        spec = store.spec("")
        self._folder = Path(spec["path"]) if spec["driver"] == "file" else None
        # An object store takes and gives values whole: one is in memory at a time.
        self._whole = asyncio.Semaphore(1)

    async def file(self) -> IO[bytes]:
        """An empty file, on the disk of the store where it has one: /tmp may be memory."""
        return await self.do("writing", self._file)

    async def put(self, path: str, file: IO[bytes]) -> None:
        """Sets a key to what a file holds, whole or not at all."""
        if self._folder is not None:
            await self.do("writing", _place, self._folder / path, file)
            return
        async with self._whole:
            await self._store.write(path, await asyncio.to_thread(_read, file))

    async def get(self, path: str) -> IO[bytes] | None:
        """The value of a key as it is now, None if there is none."""
        if self._folder is not None:
            return await self.do("reading", _open, self._folder / path)
        async with self._whole:
            data = await self._store.read(path)
            if data is None:
                return None
            file = await self.file()
            await self.do("writing", file.write, data)
        return file

    async def do(self, doing: str, work: Callable[..., _T], *given: object) -> _T:
        """Does something with files in a thread.

        Raises:
            ResourceExhaustedError: The disk is full.
            StoreError: The disk fails in another way.
        """
        try:
            return await asyncio.to_thread(work, *given)
        except OSError as error:
            raise self._known(error, doing) from None

    def _file(self) -> IO[bytes]:
        folder = None
        if self._folder is not None:
            folder = self._folder / _SCRATCH
            folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)

    def _known(self, error: OSError, doing: str) -> DomainError:
        where, said = self._store.uri(""), error.strerror or str(error)
        if error.errno in _FULL:
            return ResourceExhaustedError(f"{where} is full: {said}.")
        if error.errno in _REFUSED:
            return FailedPreconditionError(f"{where} refuses {doing}: {said}.")
        return StoreError(f"{where} failed at {doing}: {said}.")


def _place(target: Path, file: IO[bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Nobody lists a file of this kind, and no object has such a name.
    draft = target.with_name(f"{target.name}.{uuid.uuid4().hex}{LOCK_SUFFIX}")
    try:
        file.seek(0)
        with draft.open("xb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _open(path: Path) -> IO[bytes] | None:
    try:
        return path.open("rb", buffering=0)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _read(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
