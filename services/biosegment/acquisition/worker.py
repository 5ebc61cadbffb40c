"""Where rank jobs are done."""

from biosegment.acquisition.ranking import rank
from biosegment.client.stubs import AsyncStubs
from biosegment.runtime.bus import Bus
from biosegment.runtime.worker import JobWorker


def make_worker(bus: Bus, stubs: AsyncStubs, host: str) -> JobWorker:
    """The worker that takes rank jobs, one at a time."""
    return JobWorker("rank", bus, stubs, rank, host=host)
