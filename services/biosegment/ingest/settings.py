"""Settings of the ingest service."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from biosegment.runtime.settings import ServiceSettings


class IngestSettings(ServiceSettings):
    """Which folders may be read and written."""

    import_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(), description="Folders that imports may read, separated like PATH"
    )
    export_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(), description="Folders that exports may write to, separated like PATH"
    )

    own_folders: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description="Folders of the platform itself, where nothing is ever imported from or "
        "exported to, separated like PATH",
    )

    @field_validator("import_roots", "export_roots", "own_folders", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(Path(part) for part in value.split(os.pathsep) if part)
        return value
