"""What ended imports and exports left: a job may end while no attempt is there to tidy up."""

import asyncio

from biosegment.client.errors import DomainError, NotFoundError
from biosegment.client.stubs import AsyncStubs
from biosegment.ingest import exports, imports
from biosegment.ingest.roots import Roots
from biosegment.runtime.bus import Message
from biosegment.v1 import events_pb2, jobs_pb2, storage_pb2

_WITHOUT_RESULT = (jobs_pb2.JOB_STATE_CANCELLED, jobs_pb2.JOB_STATE_FAILED)


async def remove_volumes(stubs: AsyncStubs, job: jobs_pb2.Job) -> None:
    """Removes the volumes that an import made, and no other job's of the same names."""
    spec = job.import_spec
    volumes = [spec.volume]
    if spec.WhichOneof("target") == "dataset":
        volumes.append(imports.label_view(spec.dataset.name))
    for name in volumes:
        made_by = imports.request_id(job.name, name)
        await stubs.storage.DeleteVolume(
            storage_pb2.DeleteVolumeRequest(name=name, made_by_request_id=made_by)
        )


class Leftovers:
    """Tidies up after jobs by the events of their ends."""

    def __init__(self, stubs: AsyncStubs, destinations: Roots) -> None:
        self._stubs = stubs
        self._destinations = destinations

    async def on_ended(self, message: Message) -> None:
        """Handles the event of a job's end; repeats do no harm."""
        event = events_pb2.JobEnded.FromString(message.data)
        if event.kind not in (jobs_pb2.JOB_KIND_IMPORT, jobs_pb2.JOB_KIND_EXPORT):
            return
        try:
            job = (await self._stubs.jobs.GetJob(jobs_pb2.GetJobRequest(name=event.job))).job
        except NotFoundError:
            return
        if job.state != event.state:
            return  # It was retried; its next end is told as well.
        if event.kind == jobs_pb2.JOB_KIND_EXPORT:
            await self._after_export(job)
        elif job.state in _WITHOUT_RESULT:
            await remove_volumes(self._stubs, job)

    async def _after_export(self, job: jobs_pb2.Job) -> None:
        try:
            destination = self._destinations.inside(job.export_spec.destination_path)
        except DomainError:
            return  # The folder is no longer allowed.

        def tidy() -> None:
            exports.remove_drafts(destination, job.name)
            # One that failed or was cancelled after its output was there may be retried.
            done = job.state == jobs_pb2.JOB_STATE_SUCCEEDED
            if done or exports.placed(destination, job.name) is None:
                exports.forget(destination, job.name)

        await asyncio.to_thread(tidy)
