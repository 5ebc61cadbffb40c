"""Settings of the gateway: environment variables BIOSEGMENT_*, checked, frozen."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class GatewaySettings(BaseSettings):
    """What the gateway needs to know. It needs no bus and keeps no state."""

    model_config = SettingsConfigDict(env_prefix="BIOSEGMENT_", frozen=True, extra="ignore")

    gateway_listen: str = Field(
        default="127.0.0.1:8787",
        pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\[\]]+):\d{1,5}$",
        description="host:port to listen on; an IPv6 host goes in square brackets",
    )
    connection: Path = Field(description="Connection file: token and addresses of all services")
    gateway_connections: int = Field(
        default=1024, ge=16, description="Connections at a time, from all addresses together"
    )
    gateway_connections_per_address: int = Field(
        default=512,
        ge=1,
        description="Connections at a time from one address; behind a front server, which is one "
        "address, as many as from all",
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "json"
    drain_seconds: float = Field(
        default=10.0, gt=0, description="How long running requests may go on after SIGTERM"
    )

    @property
    def host(self) -> str:
        """Where to listen."""
        return self.gateway_listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Where to listen."""
        return int(self.gateway_listen.rpartition(":")[2])
