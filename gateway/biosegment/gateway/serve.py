"""The life of the gateway process."""

import math
import sys

import uvicorn
from pydantic import ValidationError

from biosegment.client.connection import Connection
from biosegment.client.errors import DomainError
from biosegment.gateway.app import make_app
from biosegment.gateway.connections import Limits, guarded
from biosegment.gateway.settings import GatewaySettings
from biosegment.runtime import log


def main() -> None:
    """Serves until SIGTERM or SIGINT."""
    try:
        settings = GatewaySettings()  # type: ignore[call-arg]
    except ValidationError as error:
        for flaw in error.errors():
            field = "_".join(str(part) for part in flaw["loc"]).upper()
            sys.stderr.write(f"gateway: setting BIOSEGMENT_{field}: {flaw['msg']}\n")
        raise SystemExit(2) from None
    log.configure("gateway", settings.log_level, settings.log_format)
    try:
        connection = Connection.load(settings.connection)
    except DomainError as error:
        sys.stderr.write(f"gateway: {error.message}\n")
        raise SystemExit(1) from None
    limits = Limits(
        connections=settings.gateway_connections,
        connections_per_address=settings.gateway_connections_per_address,
    )
    config = uvicorn.Config(
        make_app(connection),
        host=settings.host,
        port=settings.port,
        http=guarded(limits),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
    )
    uvicorn.Server(config).run()
