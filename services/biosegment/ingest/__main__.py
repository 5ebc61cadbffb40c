"""``python -m biosegment.ingest``."""

from biosegment.ingest.settings import IngestSettings
from biosegment.ingest.wiring import setup
from biosegment.runtime.app import main

if __name__ == "__main__":
    main("ingest", IngestSettings, setup)
