"""Checkpoints of trainings that were cancelled or failed, kept for a while for a retry."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

from biosegment.client import names
from biosegment.client.errors import DomainError
from biosegment.client.stubs import AsyncStubs
from biosegment.runtime import log
from biosegment.v1 import jobs_pb2, storage_pb2

_SWEEP_SECONDS = 3600.0
_PAGE = 1000
_log = log.get(__name__)


class Leftovers:
    """Removes the checkpoints that nobody has gone on from."""

    def __init__(self, stubs: AsyncStubs, keep_hours: float) -> None:
        self._stubs = stubs
        self._keep = timedelta(hours=keep_hours)
        self._removed: set[str] = set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Looks now and then until stopping is set."""
        while not stopping.is_set():
            try:
                await self.sweep()
            except DomainError as error:
                _log.warning("leftovers.sweep_failed", error=error.message)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), _SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Looks once.

        Raises:
            DomainError: The record or the store cannot be reached.
        """
        until, token = datetime.now(UTC) - self._keep, ""
        while True:
            page = await self._stubs.jobs.ListJobs(
                jobs_pb2.ListJobsRequest(
                    parent="projects/-",
                    states=[jobs_pb2.JOB_STATE_CANCELLED, jobs_pb2.JOB_STATE_FAILED],
                    kinds=[jobs_pb2.JOB_KIND_TRAIN],
                    page_size=_PAGE,
                    page_token=token,
                )
            )
            for job in page.jobs:
                ended = job.end_time.ToDatetime(tzinfo=UTC)
                if ended < until and job.name not in self._removed:
                    await self._remove(job.name)
                    self._removed.add(job.name)
            token = page.next_page_token
            if not token:
                return

    async def _remove(self, job: str) -> None:
        project, identity = names.parse(names.JOB, job)
        checkpoint = f"projects/{project}/objects/jobs/{identity}/checkpoint"
        await self._stubs.storage.DeleteObject(storage_pb2.DeleteObjectRequest(name=checkpoint))
