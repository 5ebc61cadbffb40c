"""``python -m biosegment.storage``."""

from biosegment.runtime.app import main
from biosegment.storage.settings import StorageSettings
from biosegment.storage.wiring import setup

if __name__ == "__main__":
    main("storage", StorageSettings, setup)
