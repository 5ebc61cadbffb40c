"""Named objects for those that cannot reach the store, in pieces of 1 MiB."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import IO

from biosegment.client.errors import InvalidArgumentError, NotFoundError
from biosegment.storage.spool import Spool
from biosegment.storage.store import Store, object_path
from biosegment.storage.streams import Places
from biosegment.v1 import storage_pb2

_PIECE_BYTES = 1 << 20
MAX_OBJECT_BYTES = 2 << 30
"""Bytes of one object."""
_AT_ONCE = 2


class Objects:
    """Streams objects in and out, of which no more than a piece is in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._spool = Spool(store)
        self._coming, self._going = Places("objects"), Places("objects")
        # Taken only while the store works, never while a peer is waited for.
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def read(self, name: str) -> AsyncGenerator[bytes]:
        """Yields the pieces of an object, as it was when the reading began.

        Raises:
            InvalidArgumentError: The name is none of an object.
            NotFoundError: There is none.
            UnavailableError: Too many are being read.
        """
        path = object_path(name)
        stream = await self._going.enter()
        try:
            async with self._turns:
                file = await self._spool.get(path)
            if file is None:
                raise NotFoundError(f"The store has no object {name}.", name=name)

            async def pieces() -> AsyncIterator[bytes]:
                at = 0
                while piece := await self._spool.do("reading", _piece, file, at):
                    yield piece
                    at += len(piece)

            with file:
                async with aclosing(stream.given(pieces(), len)) as given:
                    async for piece in given:
                        yield piece
        finally:
            self._going.leave(stream)

    async def write(self, messages: AsyncIterator[storage_pb2.WriteObjectRequest]) -> None:
        """Stores the object that a stream of messages holds, whole or not at all.

        Raises:
            InvalidArgumentError: The name is none of an object, the object is too large, or the
                stream holds another number of bytes than it said.
            DeadlineError: The stream was too slow.
            UnavailableError: Too many are being written.
        """
        stream = await self._coming.enter()
        try:
            with await self._spool.file() as file:
                path, size, held = "", 0, 0
                async for message in stream.taken(messages, lambda each: len(each.data)):
                    if not path:
                        path, size = object_path(message.name), message.size_bytes
                        _check_size(message.name, size)
                    held += len(message.data)
                    if held > size:
                        break
                    await self._spool.do("writing", file.write, message.data)
                if not path or held != size:
                    raise InvalidArgumentError(
                        f"The stream of an object holds {'more' if held > size else held} bytes "
                        f"where it said {size}."
                    )
                async with self._turns:
                    await self._spool.put(path, file)
        finally:
            self._coming.leave(stream)

    async def delete(self, name: str, *, below: bool) -> None:
        """Removes an object, or all below a name; nothing there is no error.

        Raises:
            InvalidArgumentError: The name is none of an object.
        """
        path = object_path(name)
        if below:
            await self._store.delete(f"{path}/")
        else:
            await self._store.write(path, None)


def _check_size(name: str, size: int) -> None:
    if not 0 <= size <= MAX_OBJECT_BYTES:
        raise InvalidArgumentError(
            f"{name} would have {size} bytes; the stream takes at most {MAX_OBJECT_BYTES}.",
            name=name,
        )


def _piece(file: IO[bytes], at: int) -> bytes:
    file.seek(at)
    return file.read(_PIECE_BYTES)
