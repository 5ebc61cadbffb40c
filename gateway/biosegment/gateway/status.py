"""What anybody may ask without a token: is it up, and which version is it."""

import asyncio
import time
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request, Response

from biosegment.client.connection import Connection
from biosegment.client.health import Health, check_all

router = APIRouter()
_FRESH_SECONDS = 1.0


class Checks:
    """The health of the services: asked once a second at most, whoever and however many ask."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._asking: asyncio.Task[dict[str, Health]] | None = None
        self._since = -_FRESH_SECONDS

    async def __call__(self) -> dict[str, Health]:
        """How each service answers, by its name."""
        over = self._asking is None or self._asking.done()
        if self._asking is None or (over and time.monotonic() > self._since + _FRESH_SECONDS):
            self._since = time.monotonic()
            self._asking = asyncio.create_task(check_all(self._connection))
        # One that goes away must not take the answer from the others.
        return await asyncio.shield(self._asking)


@router.get("/health")
async def health(request: Request, response: Response) -> dict[str, Any]:
    """The gateway's health and that of each service; status 503 when one is not serving."""
    services = await request.app.state.checks()
    serving = all(answer == "serving" for answer in services.values())
    if not serving:
        response.status_code = 503
    return {"status": "serving" if serving else "degraded", "services": services}


@router.get("/version")
async def get_version() -> dict[str, str]:
    """The version of the platform; answers as soon as the gateway itself is up."""
    return {"version": version("biosegment")}
