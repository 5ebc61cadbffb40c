"""Named objects of the store (weights, checkpoints), on whatever the store is made of."""

import json
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import tensorstore as ts

from biosegment.client.errors import NotFoundError
from biosegment.client.stubs import AsyncStubs, SyncStubs
from biosegment.v1 import storage_pb2

_READ_AHEAD = 32


def _open(stubs: SyncStubs, name: str) -> Any:
    answer = stubs.storage.ResolveObject(storage_pb2.ResolveObjectRequest(name=name))
    return ts.KvStore.open(json.loads(answer.kvstore_spec)).result()


def write(stubs: SyncStubs, name: str, data: bytes) -> None:
    """Stores an object, whole or not at all.

    Args:
        stubs: To reach the storage service.
        name: projects/p/objects/…
        data: Its bytes.
    """
    _open(stubs, name).write("", data).result()


def read(stubs: SyncStubs, name: str) -> bytes:
    """The bytes of an object.

    Raises:
        NotFoundError: There is none.
    """
    found = _open(stubs, name).read("").result()
    if found.state != "value":
        raise NotFoundError(f"The store has no object {name}.", name=name)
    return bytes(found.value)


async def fetch(stubs: AsyncStubs, name: str) -> bytes:
    """``read`` for an event loop."""
    answer = await stubs.storage.ResolveObject(storage_pb2.ResolveObjectRequest(name=name))
    store = await ts.KvStore.open(json.loads(answer.kvstore_spec))
    found = await store.read("")
    if found.state != "value":
        raise NotFoundError(f"The store has no object {name}.", name=name)
    return bytes(found.value)


def exists(stubs: SyncStubs, name: str) -> bool:
    """Whether there is such an object."""
    return bool(_open(stubs, name).read("").result().state == "value")


def delete(stubs: SyncStubs, name: str) -> None:
    """Removes an object; one that is not there is no error."""
    _open(stubs, name).write("", None).result()


class Objects:
    """Many objects whose names begin alike, reached through one look-up."""

    def __init__(self, stubs: SyncStubs, name: str) -> None:
        """Takes what all names begin with, projects/p/objects/…; a key is what follows its "/"."""
        self._name = name
        self._store = _open(stubs, name)

    def write(self, key: str, data: bytes) -> None:
        """Stores an object, whole or not at all."""
        self._store.write(f"/{key}", data).result()

    def read(self, key: str) -> bytes:
        """The bytes of an object.

        Raises:
            NotFoundError: There is none.
        """
        (data,) = self.read_all([key])
        return data

    def read_all(self, keys: Iterable[str]) -> Iterator[bytes]:
        """The bytes of each object, in order, some being read ahead.

        Raises:
            NotFoundError: One is not there.
        """
        ahead: deque[tuple[str, Any]] = deque()
        for key in keys:
            ahead.append((key, self._store.read(f"/{key}")))
            if len(ahead) >= _READ_AHEAD:
                yield self._taken(*ahead.popleft())
        while ahead:
            yield self._taken(*ahead.popleft())

    def _taken(self, key: str, reading: Any) -> bytes:
        found = reading.result()
        if found.state != "value":
            raise NotFoundError(f"The store has no object {self._name}/{key}.", name=self._name)
        return bytes(found.value)

    def delete_all(self) -> None:
        """Removes every one of them."""
        # "0" is the character after "/".
        self._store.delete_range(ts.KvStore.KeyRange("/", "0")).result()
