"""Settings of a service: environment variables BIOSEGMENT_*, checked, frozen."""

import socket
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class StoreAccessSettings(BaseSettings):
    """How a worker gets at the arrays; its child processes read it from the same environment."""

    model_config = SettingsConfigDict(env_prefix="BIOSEGMENT_", frozen=True, extra="ignore")

    store_access: Literal["auto", "direct", "stream"] = Field(
        default="auto",
        description="direct: read and write the store itself, or fail; stream: always through the "
        "storage service; auto: directly where the store can be read and written, else by stream",
    )


class ServiceSettings(StoreAccessSettings):
    """What every service needs to know. Each service adds its own in its settings.py."""

    listen: str = Field(default="127.0.0.1:0", description="host:port of this service")
    connection: Path = Field(description="Connection file: token and addresses of all services")
    nats_url: str = Field(default="nats://127.0.0.1:4222", description="The event bus")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "json"
    drain_seconds: float = Field(
        default=10.0, gt=0, description="How long running calls may go on after SIGTERM"
    )
    host_name: str = Field(default_factory=socket.gethostname, description="Part of holder names")
