"""The registry's job engine behind a real gRPC server and a real broker, in this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from biosegment.client.connection import SERVICES, Connection
from biosegment.client.stubs import AsyncStubs
from biosegment.registry.database import Base, Database, now
from biosegment.registry.jobs.reconciler import Reconciler
from biosegment.registry.jobs.servicer import JobServicer, WorkerServicer
from biosegment.registry.outbox import OutboxRelay
from biosegment.registry.settings import RegistrySettings
from biosegment.registry.tables.catalog import ProjectRow
from biosegment.runtime.bus import Bus
from biosegment.runtime.provision import provision
from biosegment.runtime.server import Server
from biosegment.v1 import jobs_pb2, jobs_pb2_grpc

PROJECT = "projects/p"


class Engine:
    """What a test needs to start jobs and workers."""

    def __init__(self, bus: Bus, stubs: AsyncStubs, reconciler: Reconciler) -> None:
        self.bus = bus
        self.stubs = stubs
        self.reconciler = reconciler
        self.stopping = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, *workers: Any) -> None:
        """Runs workers until the engine stops."""
        self.tasks += [asyncio.create_task(worker.run(self.stopping)) for worker in workers]

    async def create(self, **spec: Any) -> jobs_pb2.Job:
        answer = await self.stubs.jobs.CreateJob(
            jobs_pb2.CreateJobRequest(parent=PROJECT, job=jobs_pb2.Job(**spec))
        )
        return answer.job

    async def get(self, job: jobs_pb2.Job) -> jobs_pb2.Job:
        return (await self.stubs.jobs.GetJob(jobs_pb2.GetJobRequest(name=job.name))).job

    async def ended(self, job: jobs_pb2.Job) -> jobs_pb2.Job:
        """Waits for the job to end."""
        async with asyncio.timeout(30):
            async for answer in self.stubs.jobs.WatchJob(jobs_pb2.WatchJobRequest(name=job.name)):
                last = answer.job
        return last


@asynccontextmanager
async def engine(folder: Path, nats_url: str, **settings: Any) -> AsyncIterator[Engine]:
    """A running engine."""
    settings = {"lease_seconds": 2, "reconcile_seconds": 0.2, "retry_seconds": 0.1} | settings
    url = f"sqlite+aiosqlite:///{folder / 'registry.db'}"
    made = RegistrySettings(connection=folder / "c.json", database_url=url, **settings)
    database = Database(url)
    async with database.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with database.write() as session:
        session.add(ProjectRow(name=PROJECT, display_name="P", create_time=now()))
    bus = Bus(nats_url)
    await bus.connect()
    await provision(bus.js)
    await bus.js.purge_stream("JOBS")
    server = Server("127.0.0.1:0", "token")
    server.add(
        jobs_pb2_grpc.add_JobServiceServicer_to_server,
        JobServicer(database, made),
        "biosegment.v1.JobService",
    )
    server.add(
        jobs_pb2_grpc.add_WorkerServiceServicer_to_server,
        WorkerServicer(database, made),
        "biosegment.v1.WorkerService",
    )
    await server.start()
    address = f"127.0.0.1:{server.port}"
    stubs = AsyncStubs(Connection(token="token", addresses=dict.fromkeys(SERVICES, address)))
    running = Engine(bus, stubs, Reconciler(database, bus, made))
    running.start(OutboxRelay(database, bus), running.reconciler)
    try:
        yield running
    finally:
        running.stopping.set()
        _, late = await asyncio.wait(running.tasks, timeout=10)
        assert not late, late
        for task in running.tasks:
            task.result()
        await stubs.close()
        await server.stop(1)
        await bus.close()
        await database.close()
