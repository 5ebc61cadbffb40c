"""Settings of the inference service."""

from pydantic import Field

from biosegment.runtime.settings import ServiceSettings


class InferenceSettings(ServiceSettings):
    """How much is computed at a time."""

    forward_pixels: int = Field(
        default=1 << 20,
        ge=1 << 12,
        le=1 << 28,
        description="Pixels in one forward of a network, four times as many voxels in 3-D; "
        "memory grows with it",
    )
    section_mebibytes: int = Field(
        default=4096,
        ge=64,
        le=1 << 20,
        description="Memory that one section may take in a network that has to see all of it",
    )
    answer_mebibytes: int = Field(
        default=64, ge=1, le=1024, description="Largest array that PredictRegion sends"
    )
