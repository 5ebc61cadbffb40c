"""Settings of the acquisition service."""

from pydantic import Field

from biosegment.runtime.settings import ServiceSettings


class AcquisitionSettings(ServiceSettings):
    """Environment variables BIOSEGMENT_*."""

    sweep_seconds: float = Field(
        default=5.0, gt=0, description="How often every active campaign is looked at"
    )
