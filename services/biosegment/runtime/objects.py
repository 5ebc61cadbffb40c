"""Named objects of the store (weights, checkpoints), on whatever the store is made of.

Straight from the store where this process reaches it, else by the storage service's stream.
"""

import json
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import tee
from typing import Any, Protocol

import tensorstore as ts

from biosegment.client.errors import NotFoundError
from biosegment.client.stubs import AsyncStubs, SyncStubs
from biosegment.runtime import store_access
from biosegment.runtime.stores import context, reaching, where_of
from biosegment.v1 import storage_pb2

PIECE_BYTES = 1 << 20
"""Of an object, in one message."""
_READ_AHEAD = 32


class _Way(Protocol):
    """A way to the objects whose names begin alike; an end is what follows in a name."""

    def read_all(self, ends: Iterable[str]) -> Iterator[bytes | None]: ...
    def write(self, end: str, data: bytes) -> None: ...
    def delete(self, end: str) -> None: ...
    def delete_below(self) -> None: ...


class _Direct:
    def __init__(self, spec: dict[str, Any]) -> None:
        self._where = where_of(spec)
        with reaching(self._where, "opening"):
            self._store = ts.KvStore.open(spec, context=context()).result()

    def read_all(self, ends: Iterable[str]) -> Iterator[bytes | None]:
        ahead: deque[Any] = deque()
        for end in ends:
            ahead.append(self._store.read(end))
            if len(ahead) >= _READ_AHEAD:
                yield self._taken(ahead.popleft())
        while ahead:
            yield self._taken(ahead.popleft())

    def _taken(self, reading: Any) -> bytes | None:
        with reaching(self._where, "reading"):
            found = reading.result()
        return bytes(found.value) if found.state == "value" else None

    def write(self, end: str, data: bytes) -> None:
        with reaching(self._where, "writing"):
            self._store.write(end, data).result()

    def delete(self, end: str) -> None:
        with reaching(self._where, "deleting"):
            self._store.write(end, None).result()

    def delete_below(self) -> None:
        with reaching(self._where, "deleting"):
            # "0" is the character after "/".
            self._store.delete_range(ts.KvStore.KeyRange("/", "0")).result()


class _Stream:
    def __init__(self, stubs: SyncStubs, name: str) -> None:
        self._storage = stubs.storage
        self._name = name

    def read_all(self, ends: Iterable[str]) -> Iterator[bytes | None]:
        for end in ends:
            request = storage_pb2.ReadObjectRequest(name=self._name + end)
            try:
                yield b"".join(answer.data for answer in self._storage.ReadObject(request))
            except NotFoundError:
                yield None

    def write(self, end: str, data: bytes) -> None:
        self._storage.WriteObject(messages(self._name + end, data))

    def delete(self, end: str) -> None:
        self._storage.DeleteObject(storage_pb2.DeleteObjectRequest(name=self._name + end))

    def delete_below(self) -> None:
        self._storage.DeleteObject(storage_pb2.DeleteObjectRequest(name=self._name, below=True))


def messages(name: str, data: bytes) -> Iterator[storage_pb2.WriteObjectRequest]:
    """The stream that stores an object."""
    yield storage_pb2.WriteObjectRequest(name=name, size_bytes=len(data))
    for start in range(0, len(data), PIECE_BYTES):
        yield storage_pb2.WriteObjectRequest(data=data[start : start + PIECE_BYTES])


def _way(stubs: SyncStubs, name: str) -> _Way:
    answer = stubs.storage.ResolveObject(storage_pb2.ResolveObjectRequest(name=name))
    if store_access.direct(answer.probe):
        return _Direct(json.loads(answer.kvstore_spec))
    return _Stream(stubs, name)


def write(stubs: SyncStubs, name: str, data: bytes) -> None:
    """Stores an object, whole or not at all.

    Args:
        stubs: To reach the storage service.
        name: projects/p/objects/…
        data: Its bytes.
    """
    _way(stubs, name).write("", data)


def read(stubs: SyncStubs, name: str) -> bytes:
    """The bytes of an object.

    Raises:
        NotFoundError: There is none.
    """
    (data,) = _way(stubs, name).read_all([""])
    return _there(data, name)


async def fetch(stubs: AsyncStubs, name: str) -> bytes:
    """``read`` for an event loop, always by stream.

    Raises:
        NotFoundError: There is none.
    """
    request = storage_pb2.ReadObjectRequest(name=name)
    return b"".join([answer.data async for answer in stubs.storage.ReadObject(request)])


def delete(stubs: SyncStubs, name: str) -> None:
    """Removes an object; one that is not there is no error."""
    _way(stubs, name).delete("")


def _there(data: bytes | None, name: str) -> bytes:
    if data is None:
        raise NotFoundError(f"The store has no object {name}.", name=name)
    return data


class Objects:
    """Many objects whose names begin alike, reached through one look-up."""

    def __init__(self, stubs: SyncStubs, name: str) -> None:
        """Takes what all names begin with, projects/p/objects/…; a key is what follows its "/"."""
        self._name = name
        self._way = _way(stubs, name)

    def write(self, key: str, data: bytes) -> None:
        """Stores an object, whole or not at all."""
        self._way.write(f"/{key}", data)

    def read(self, key: str) -> bytes:
        """The bytes of an object.

        Raises:
            NotFoundError: There is none.
        """
        (data,) = self.read_all([key])
        return data

    def read_all(self, keys: Iterable[str]) -> Iterator[bytes]:
        """The bytes of each object, in order, some being read ahead where the store is reached.

        Raises:
            NotFoundError: One is not there.
        """
        asked, names = tee(keys)
        found = self._way.read_all(f"/{key}" for key in asked)
        for key, data in zip(names, found, strict=True):
            yield _there(data, f"{self._name}/{key}")

    def delete_all(self) -> None:
        """Removes every one of them."""
        self._way.delete_below()
