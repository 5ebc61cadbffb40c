"""``python -m biosegment.training``."""

from biosegment.runtime.app import main
from biosegment.training.settings import TrainingServiceSettings
from biosegment.training.wiring import setup

if __name__ == "__main__":
    main("training", TrainingServiceSettings, setup)
