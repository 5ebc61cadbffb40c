"""Settings of the training service."""

from pydantic import Field

from biosegment.runtime.settings import ServiceSettings


class TrainingServiceSettings(ServiceSettings):
    """What every service needs to know; how to train is said with each run."""

    keep_checkpoint_hours: float = Field(
        default=168.0,
        ge=0,
        description="How long a training that was cancelled or failed can be retried from its "
        "checkpoint, which then goes",
    )
