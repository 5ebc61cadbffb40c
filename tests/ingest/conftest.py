"""Real storage and ingest servicers in process; the record answers from a small table."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from biosegment.client.connection import Connection
from biosegment.client.errors import NotFoundError
from biosegment.client.grants import make_key
from biosegment.client.stubs import AsyncStubs
from biosegment.ingest.imports import Sources
from biosegment.ingest.leftovers import Leftovers
from biosegment.ingest.looks import Looks
from biosegment.ingest.roots import Roots
from biosegment.ingest.servicer import IngestServicer
from biosegment.ingest.worker import ExportHandler, ImportHandler
from biosegment.runtime.bus import Message
from biosegment.runtime.child import Child
from biosegment.runtime.server import Server
from biosegment.runtime.worker import JobContext
from biosegment.storage import start
from biosegment.storage.servicer import StorageServicer
from biosegment.storage.store import Store
from biosegment.storage.volumes import Volumes
from biosegment.v1 import (
    events_pb2,
    ingest_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    registry_pb2,
    registry_pb2_grpc,
    storage_pb2_grpc,
)


@dataclass
class Record(registry_pb2_grpc.RegistryServiceServicer, jobs_pb2_grpc.JobServiceServicer):
    """What the tests say the registry knows."""

    datasets: dict[str, registry_pb2.Dataset] = field(default_factory=dict)
    classes: list[int] = field(default_factory=lambda: [0, 1])
    colors: dict[int, str] = field(default_factory=dict)
    jobs: list[jobs_pb2.Job] = field(default_factory=list)

    async def GetProject(self, request, context):
        if request.name != "projects/p":
            raise NotFoundError(f"There is no project {request.name}.")
        return registry_pb2.GetProjectResponse(project=registry_pb2.Project(name="projects/p"))

    async def GetDataset(self, request, context):
        if request.name not in self.datasets:
            raise NotFoundError(f"There is no data set {request.name}.")
        return registry_pb2.GetDatasetResponse(dataset=self.datasets[request.name])

    async def ListLabelClasses(self, request, context):
        classes = [
            registry_pb2.LabelClass(value=value, color=self.colors.get(value, ""))
            for value in self.classes
        ]
        return registry_pb2.ListLabelClassesResponse(label_classes=classes)

    async def CreateJob(self, request, context):
        job = jobs_pb2.Job()
        job.CopyFrom(request.job)
        job.name = f"projects/p/jobs/j{len(self.jobs) + 1}"
        job.max_failures = 3
        self.jobs.append(job)
        return jobs_pb2.CreateJobResponse(job=job)

    async def GetJob(self, request, context):
        (job,) = [job for job in self.jobs if job.name == request.name]
        return jobs_pb2.GetJobResponse(job=job)

    async def ListJobs(self, request, context):
        return jobs_pb2.ListJobsResponse(jobs=self.jobs)


@dataclass
class Platform:
    folder: Path
    files: Path
    outputs: Path
    record: Record
    stubs: AsyncStubs
    connection: Connection
    imports: ImportHandler
    exports: ExportHandler
    leftovers: Leftovers

    def context(self, job: jobs_pb2.Job, attempt: int = 1) -> JobContext:
        job.attempt = attempt
        claim = jobs_pb2.ClaimJobResponse(job=job)
        claim.lease.FromTimedelta(timedelta(seconds=30))
        return JobContext(claim, self.stubs, None, asyncio.Event())

    async def end(self, job: jobs_pb2.Job, kind: int, state: int) -> None:
        """Has the record end a job, and tells of it."""
        (known,) = [known for known in self.record.jobs if known.name == job.name]
        known.state = state
        await self.tell(job, kind, state)

    async def tell(self, job: jobs_pb2.Job, kind: int, state: int) -> None:
        """Delivers the event that a job has ended."""
        event = events_pb2.JobEnded(job=job.name, kind=kind, state=state)
        raw = Msg(_client=None, data=event.SerializeToString())
        await self.leftovers.on_ended(Message(raw))


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    folder, files, outputs = (tmp_path / name for name in ("store", "files", "outputs"))
    for path in (files, outputs):
        path.mkdir()
    server = Server("127.0.0.1:0", "token")
    record = Record()
    store = Store.of_folder(folder)
    own = [folder, tmp_path / "home"]
    looks = Looks()
    key = make_key(tmp_path / "connection.json")
    sources = Sources(looks, Roots([files], "import", own=own), key)
    targets = Roots([outputs, files], "export", own=own)
    # The address is known once the server has started; the servicer needs stubs before.
    reserved = Server("127.0.0.1:0", "token")
    await reserved.start()
    await reserved.stop(0)
    connection = Connection(token="token", addresses={"*": f"127.0.0.1:{reserved.port}"})
    server = Server(f"127.0.0.1:{reserved.port}", "token")
    stubs = AsyncStubs(connection)
    server.add(registry_pb2_grpc.add_RegistryServiceServicer_to_server, record, "registry")
    server.add(jobs_pb2_grpc.add_JobServiceServicer_to_server, record, "jobs")
    server.add(
        storage_pb2_grpc.add_StorageServiceServicer_to_server,
        StorageServicer(store, Volumes(store), await start.probe(store)),
        "storage",
    )
    server.add(
        ingest_pb2_grpc.add_IngestServiceServicer_to_server,
        IngestServicer(stubs, sources, targets),
        "ingest",
    )
    await server.start()
    connection.save(tmp_path / "connection.json")
    child = Child("ingest")
    yield Platform(
        folder,
        files,
        outputs,
        record,
        stubs,
        connection,
        ImportHandler(sources, tmp_path / "connection.json", child),
        ExportHandler(targets, looks, tmp_path / "connection.json", child),
        Leftovers(stubs, targets, looks),
    )
    await looks.close()
    await child.close()
    await stubs.close()
    await server.stop(0)
