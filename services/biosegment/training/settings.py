"""Settings of the training service."""

from biosegment.runtime.settings import ServiceSettings


class TrainingServiceSettings(ServiceSettings):
    """What every service needs to know; how to train is said with each run."""
