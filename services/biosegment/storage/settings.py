"""Settings of the storage service."""

from pathlib import Path

from pydantic import Field

from biosegment.runtime.settings import ServiceSettings


class StorageSettings(ServiceSettings):
    """Where the arrays lie."""

    store: Path = Field(description="Folder that holds every volume and object")
    sweep_seconds: float = Field(
        default=60.0, gt=0, description="How often label volumes are compared with the log"
    )
