"""Named objects for those that cannot reach the store, in pieces of 1 MiB."""

import asyncio
from collections.abc import AsyncIterator

from biosegment.client.errors import InvalidArgumentError, NotFoundError
from biosegment.storage.store import Store, object_path
from biosegment.storage.streams import in_time
from biosegment.v1 import storage_pb2

_PIECE_BYTES = 1 << 20
MAX_OBJECT_BYTES = 2 << 30
"""Bytes of one object; it is held in memory whole."""
_AT_ONCE = 2


class Objects:
    """Streams objects in and out, two at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Yields the pieces of an object, as it was when the reading began.

        Raises:
            InvalidArgumentError: The name is none of an object.
            NotFoundError: There is none.
        """
        path = object_path(name)
        async with self._turns:
            data = await self._store.read(path)
            if data is None:
                raise NotFoundError(f"The store has no object {name}.", name=name)
            for start in range(0, len(data), _PIECE_BYTES):
                yield data[start : start + _PIECE_BYTES]

    async def write(self, messages: AsyncIterator[storage_pb2.WriteObjectRequest]) -> None:
        """Stores the object that a stream of messages holds, whole or not at all.

        Raises:
            InvalidArgumentError: The name is none of an object, the object is too large, or the
                stream holds another number of bytes than it said.
            DeadlineError: The next message did not come in time.
        """
        async with self._turns:
            path, size, pieces, held = "", 0, list[bytes](), 0
            async for message in in_time(messages, "an object"):
                if not path:
                    path, size = object_path(message.name), message.size_bytes
                    _check_size(message.name, size)
                pieces.append(message.data)
                held += len(message.data)
                if held > size:
                    break
            if not path or held != size:
                raise InvalidArgumentError(
                    f"The stream of an object holds {'more' if held > size else held} bytes where "
                    f"it said {size}."
                )
            await self._store.write(path, b"".join(pieces))

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
