"""The acquisition service: ``python -m biosegment.acquisition``."""

from biosegment.acquisition.settings import AcquisitionSettings
from biosegment.acquisition.wiring import setup
from biosegment.runtime.app import main

if __name__ == "__main__":
    main("acquisition", AcquisitionSettings, setup)
