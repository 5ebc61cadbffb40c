"""What ended imports and exports left: a job may end while no attempt is there to tidy up."""

from biosegment.client.errors import NotFoundError
from biosegment.client.stubs import AsyncStubs
from biosegment.ingest import imports
from biosegment.ingest.looks import Looks
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

    def __init__(self, stubs: AsyncStubs, destinations: Roots, looks: Looks) -> None:
        self._stubs = stubs
        self._destinations = destinations
        self._looks = looks

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
        await self._looks.run(
            "tidy",
            path=job.export_spec.destination_path,
            roots=self._destinations,
            job=job.name,
            done=job.state == jobs_pb2.JOB_STATE_SUCCEEDED,
        )
