"""``python -m biosegment.registry``."""

from biosegment.registry.settings import RegistrySettings
from biosegment.registry.wiring import setup
from biosegment.runtime.app import main

if __name__ == "__main__":
    main("registry", RegistrySettings, setup)
