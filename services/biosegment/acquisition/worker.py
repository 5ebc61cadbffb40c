"""Where rank jobs are done."""

from functools import partial

from biosegment.acquisition.ranking import rank
from biosegment.client.connection import Connection
from biosegment.client.stubs import AsyncStubs
from biosegment.runtime.bus import Bus
from biosegment.runtime.worker import JobWorker


def make_worker(bus: Bus, stubs: AsyncStubs, connection: Connection, host: str) -> JobWorker:
    """The worker that takes rank jobs, one at a time."""
    return JobWorker("rank", bus, stubs, partial(rank, connection=connection), host=host)
