"""What anybody may ask without a token: is it up, and which version is it."""

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request, Response

from biosegment.client.health import check_all

router = APIRouter()


@router.get("/health")
async def health(request: Request, response: Response) -> dict[str, Any]:
    """The gateway's health and that of each service; status 503 when one is not serving."""
    services = await check_all(request.app.state.connection)
    serving = all(answer == "serving" for answer in services.values())
    if not serving:
        response.status_code = 503
    return {"status": "serving" if serving else "degraded", "services": services}


@router.get("/version")
async def get_version() -> dict[str, str]:
    """The version of the platform; answers as soon as the gateway itself is up."""
    return {"version": version("biosegment")}
