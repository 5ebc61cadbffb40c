"""The BioSegment SDK: light (grpcio, protobuf, numpy), sync and async.

    from biosegment.client import Box, Client

    with Client() as client:
        job = client.import_volume("stack.tif", dataset="liver", voxel_size=(8, 8, 8))
        client.wait(job)
        patch = client.read("liver", Box.at((0, 0, 0), (1, 256, 256)))

Nothing is imported before it is used, so that importing this package costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biosegment.client.client import Client
    from biosegment.client.connection import Connection
    from biosegment.client.errors import DomainError
    from biosegment.client.geometry import Box
    from biosegment.client.sdk import AsyncClient

__all__ = ["AsyncClient", "Box", "Client", "Connection", "DomainError"]

_HOMES = {
    "AsyncClient": "sdk",
    "Box": "geometry",
    "Client": "client",
    "Connection": "connection",
    "DomainError": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
