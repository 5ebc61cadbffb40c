"""Whether this process reads and writes the store itself, or by the storage service's stream.

Found out by trying: a folder of the same name on another machine is another folder, and
credentials that read may not be allowed to write.
"""

import json
import time
import uuid

import tensorstore as ts

from biosegment.client.errors import DomainError, FailedPreconditionError
from biosegment.runtime import log
from biosegment.runtime.settings import StoreAccessSettings
from biosegment.runtime.stores import context, reaching, where_of
from biosegment.v1 import storage_pb2

_log = log.get(__name__)
# A store that was out of reach is tried again after this long.
_AGAIN_SECONDS = 300.0
_reached: set[str] = set()
_out_of_reach: dict[str, float] = {}


def wanted() -> str:
    """The setting BIOSEGMENT_STORE_ACCESS of this process: auto, direct or stream."""
    return StoreAccessSettings().store_access


def direct(probe: storage_pb2.StoreProbe) -> bool:
    """Whether to use the store itself. Tries it the first time; blocking.

    Args:
        probe: Of the store, as the storage service gave it.

    Raises:
        DomainError: Access is to be direct, and the store cannot be used from here.
    """
    mode = wanted()
    if mode == "stream":
        return False
    if probe.identity in _reached:
        return True
    if mode == "auto" and time.monotonic() < _out_of_reach.get(probe.identity, 0.0):
        return False
    try:
        _try(probe)
    except DomainError as error:
        if mode == "direct":
            raise
        _out_of_reach[probe.identity] = time.monotonic() + _AGAIN_SECONDS
        _log.warning("store.out_of_reach", reason=error.message, instead="stream")
        return False
    _reached.add(probe.identity)
    return True


def _try(probe: storage_pb2.StoreProbe) -> None:
    spec = json.loads(probe.kvstore_spec)
    where = where_of(spec)
    with reaching(where, "reading and writing"):
        store = ts.KvStore.open(spec, context=context()).result()
        found = store.read("identity").result()
        if found.state != "value" or bytes(found.value) != probe.identity.encode():
            raise FailedPreconditionError(
                f"{where} as it is seen from here is not the store of the storage service."
            )
        key = f"reached/{uuid.uuid4()}"
        store.write(key, b"").result()
        store.write(key, None).result()
