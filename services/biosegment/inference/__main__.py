"""``python -m biosegment.inference``."""

from biosegment.inference.settings import InferenceSettings
from biosegment.inference.wiring import setup
from biosegment.runtime.app import main

if __name__ == "__main__":
    main("inference", InferenceSettings, setup)
