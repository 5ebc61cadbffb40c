"""Imported before nats: keeps it from importing aiohttp, which it would need for websockets only.

That takes more time than all the rest of nats, in each process of a platform that starts.
"""

import sys
from typing import Any, cast

if "aiohttp" not in sys.modules:
    modules = cast("dict[str, Any]", sys.modules)
    modules["aiohttp"] = None
    try:
        import nats.aio.transport  # noqa: F401
    finally:
        # Whoever wants it for something else can have it.
        del modules["aiohttp"]
