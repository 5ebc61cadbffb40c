"""Settings of the registry."""

from pydantic import Field

from biosegment.runtime.settings import ServiceSettings


class RegistrySettings(ServiceSettings):
    """Where the record is, and how jobs are held."""

    database_url: str = Field(description="SQLAlchemy URL, such as sqlite+aiosqlite:////data/r.db")
    lease_seconds: float = Field(default=30.0, gt=0, description="A hold without heartbeat ends")
    reconcile_seconds: float = Field(default=5.0, gt=0, description="Pause between two sweeps")
    retry_seconds: float = Field(default=1.0, gt=0, description="Delay before the first retry")
    max_failures: int = Field(default=5, gt=0, description="Tries that may fail, by default")
    block_failures: int = Field(default=3, gt=0, description="Tries of a block before quarantine")
    frontier_runs: int = Field(default=64, gt=0, description="Runs of blocks published at a time")
