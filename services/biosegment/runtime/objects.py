"""Named objects of the store (weights, checkpoints), on whatever the store is made of."""

import json
from typing import Any

import tensorstore as ts

from biosegment.client.errors import NotFoundError
from biosegment.client.stubs import AsyncStubs, SyncStubs
from biosegment.v1 import storage_pb2


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


async def read_async(stubs: AsyncStubs, name: str) -> bytes:
    """The bytes of an object, for servicers.

    Raises:
        NotFoundError: There is none.
    """
    request = storage_pb2.ResolveObjectRequest(name=name)
    answer = await stubs.storage.ResolveObject(request)
    kvstore = await ts.KvStore.open(json.loads(answer.kvstore_spec))
    found = await kvstore.read("")
    if found.state != "value":
        raise NotFoundError(f"The store has no object {name}.", name=name)
    return bytes(found.value)


def exists(stubs: SyncStubs, name: str) -> bool:
    """Whether there is such an object."""
    return bool(_open(stubs, name).read("").result().state == "value")


def delete(stubs: SyncStubs, name: str) -> None:
    """Removes an object; one that is not there is no error."""
    _open(stubs, name).write("", None).result()
