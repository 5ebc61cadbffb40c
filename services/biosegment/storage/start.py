"""What the service makes sure of before it says that it serves: that the store can be used.

Each of the operations that the platform lives on is tried once, so that a wrong bucket, a wrong
key or a lack of rights is one sentence at the start, and not a failed job tomorrow.
"""

import asyncio
import json
import uuid

from biosegment.client.errors import FailedPreconditionError, UnavailableError
from biosegment.runtime import log
from biosegment.storage.address import PROBE_RETRIES
from biosegment.storage.store import Store
from biosegment.v1 import storage_pb2

# What the store knows of itself; no project can be called so.
_OWN = ".biosegment/"
_IDENTITY = _OWN + "identity"
_TRIED = _OWN + "tried/"
_PAUSE_SECONDS = 2.0
_log = log.get(__name__)


async def probe(store: Store, *, patience_seconds: float = 0.0) -> storage_pb2.StoreProbe:
    """Tries the store; what workers find out by whether they are on the same one.

    Args:
        store: The store. It gets an identity when it is used for the first time.
        patience_seconds: How long a store that cannot be reached is waited for.

    Raises:
        FailedPreconditionError: The store refuses something that the platform needs.
        UnavailableError: It cannot be reached.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + patience_seconds
    while True:
        try:
            identity = await _try(store)
            break
        except UnavailableError as error:
            if clock() >= end:
                raise
            _log.warning("store.unreachable", reason=error.message)
            await asyncio.sleep(_PAUSE_SECONDS)
    spec = store.spec(_OWN)
    if "s3_request_retries" in spec:
        spec["s3_request_retries"] = PROBE_RETRIES
    return storage_pb2.StoreProbe(kvstore_spec=json.dumps(spec), identity=identity)


async def _try(store: Store) -> str:
    key = _TRIED + str(uuid.uuid4())
    known = await store.read(_IDENTITY)
    # A read of a bucket that is not there finds nothing; a write says so.
    await store.write(key, b"1")
    listed = await store.keys(_TRIED)
    second = await store.write_new(key, b"2")
    found = await store.read(key)
    await store.write(key, None)
    if key.removeprefix(_TRIED) not in listed or found is None:
        raise FailedPreconditionError(
            f"{store.uri('')} does not show what was just written: it is no store for volumes."
        )
    if second:
        # Nothing here relies on it: writers never share an object, and one process changes
        # volumes. But two that start in the same moment would notice each other later.
        _log.warning(
            "store.writes_are_not_conditional",
            store=store.uri(""),
            advice="the server ignores If-None-Match; let one platform only use this prefix",
        )
    if known is None:
        await store.write_new(_IDENTITY, str(uuid.uuid4()).encode())
        known = await store.read(_IDENTITY)
    return (known or b"").decode()
