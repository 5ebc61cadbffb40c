"""The job engine on a fresh SQLite database, called without a network."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from biosegment.registry.database import Base, Database, now
from biosegment.registry.jobs.reconciler import Reconciler
from biosegment.registry.jobs.servicer import JobServicer, WorkerServicer
from biosegment.registry.settings import RegistrySettings
from biosegment.registry.tables.catalog import ProjectRow
from biosegment.registry.tables.jobs import JobRow, RunRow
from biosegment.registry.tables.outbox import OutboxRow
from biosegment.v1 import jobs_pb2 as pb
from biosegment.v1 import types_pb2

PROJECT = "projects/p"
CONTEXT: Any = None


class Quiet:
    """A bus on which every wake-up is still waiting, so that none counts as lost."""

    class _Info:
        num_pending = 10**9
        num_ack_pending = 0

    @property
    def js(self) -> "Quiet":
        return self

    async def consumer_info(self, _stream: str, _durable: str) -> "Quiet._Info":
        return self._Info()


def asked(answer: pb.HeartbeatJobResponse | pb.SettleBlocksResponse) -> str:
    """What a heartbeat's answer asks of the worker: nothing, "pause" or "cancel"."""
    assert not (answer.cancel_requested and answer.pause_requested)
    return "cancel" * answer.cancel_requested + "pause" * answer.pause_requested


class Kit:
    """Short words for what people and workers do."""

    def __init__(self, database: Database, settings: RegistrySettings) -> None:
        self.database = database
        self.settings = settings
        self.people = JobServicer(database, settings)
        self.workers = WorkerServicer(database, settings)
        self.reconciler = Reconciler(database, Quiet(), settings)  # type: ignore[arg-type]

    async def create(self, request_id: str = "", **job: Any) -> pb.Job:
        spec = job or {"export_spec": pb.ExportSpec(volume=f"{PROJECT}/volumes/v")}
        request = pb.CreateJobRequest(parent=PROJECT, request_id=request_id, job=pb.Job(**spec))
        return (await self.people.CreateJob(request, CONTEXT)).job

    async def get(self, job: pb.Job) -> pb.Job:
        return (await self.people.GetJob(pb.GetJobRequest(name=job.name), CONTEXT)).job

    async def claim(self, job: pb.Job, holder: str = "w1") -> pb.Job:
        request = pb.ClaimJobRequest(job=job.name, holder=holder)
        return (await self.workers.ClaimJob(request, CONTEXT)).job

    async def beat(self, job: pb.Job, progress: pb.Progress | None = None) -> str:
        request = pb.HeartbeatJobRequest(job=job.name, attempt=job.attempt, progress=progress)
        return asked(await self.workers.HeartbeatJob(request, CONTEXT))

    async def complete(self, job: pb.Job, warnings: Sequence[str] = ()) -> pb.Job:
        result = pb.JobResult(export_result=pb.ExportResult(path="/x"))
        if job.kind == pb.JOB_KIND_INSTANCES:
            result = pb.JobResult(instances_result=pb.InstancesResult(instances=1))
        result.warnings.extend(warnings)
        request = pb.CompleteJobRequest(job=job.name, attempt=job.attempt, result=result)
        return (await self.workers.CompleteJob(request, CONTEXT)).job

    async def fail(self, job: pb.Job, kind: int = pb.FAILURE_KIND_RETRYABLE) -> pb.Job:
        request = pb.FailJobRequest(
            job=job.name,
            attempt=job.attempt,
            error=pb.JobError(reason="BROKEN", message="It broke."),
            kind=kind,  # type: ignore[arg-type]
        )
        return (await self.workers.FailJob(request, CONTEXT)).job

    async def cancel(self, job: pb.Job) -> pb.Job:
        return (await self.people.CancelJob(pb.CancelJobRequest(name=job.name), CONTEXT)).job

    async def pause(self, job: pb.Job) -> pb.Job:
        return (await self.people.PauseJob(pb.PauseJobRequest(name=job.name), CONTEXT)).job

    async def resume(self, job: pb.Job) -> pb.Job:
        return (await self.people.ResumeJob(pb.ResumeJobRequest(name=job.name), CONTEXT)).job

    async def retry(self, job: pb.Job) -> pb.Job:
        return (await self.people.RetryJob(pb.RetryJobRequest(name=job.name), CONTEXT)).job

    async def plan(self, job: pb.Job, blocks: int, run_length: int = 1) -> pb.Job:
        request = pb.PlanBlocksRequest(
            job=job.name,
            attempt=job.attempt,
            box=types_pb2.Box(z_stop=blocks, y_stop=4, x_stop=4),
            block=types_pb2.Shape(z=1, y=4, x=4),
            run_length=run_length,
        )
        return (await self.workers.PlanBlocks(request, CONTEXT)).job

    async def claim_blocks(
        self, job: pb.Job, first: int, holder: str = "w1"
    ) -> pb.ClaimBlocksResponse:
        request = pb.ClaimBlocksRequest(job=job.name, first_block=first, holder=holder)
        return await self.workers.ClaimBlocks(request, CONTEXT)

    async def settle(
        self,
        claim: pb.ClaimBlocksResponse,
        first: int,
        done: list[int] | None = None,
        failed: list[int] | None = None,
        release: bool = True,
        skipped: list[int] | None = None,
    ) -> str:
        error = pb.JobError(reason="POISON", message="The block is poisoned.")
        request = pb.SettleBlocksRequest(
            job=claim.job.name,
            first_block=first,
            attempt=claim.attempt,
            done_blocks=done or [],
            failed_blocks=[pb.BlockFailure(block=b, error=error) for b in failed or []],
            release=release,
            phase=claim.job.blocks.phase,
            skipped_blocks=skipped or [],
        )
        return asked(await self.workers.SettleBlocks(request, CONTEXT))

    async def lapse(self) -> None:
        """Lets every lease end, every delay pass, and sweeps."""
        past = now() - timedelta(seconds=1)
        async with self.database.write() as session:
            for table in (JobRow, RunRow):
                await session.execute(
                    update(table).where(table.lease_until.is_not(None)).values(lease_until=past)
                )
        await self.due()

    async def due(self) -> None:
        """Lets every delay pass, and sweeps."""
        past = now() - timedelta(seconds=1)
        await self.reconciler.sweep()
        async with self.database.write() as session:
            for table in (JobRow, RunRow):
                await session.execute(
                    update(table).where(table.not_before.is_not(None)).values(not_before=past)
                )
        await self.reconciler.sweep()

    async def runs(self, job: pb.Job) -> list[int]:
        async with self.database.read() as session:
            query = select(RunRow.first).where(RunRow.job == job.name, RunRow.holder == "")
            return sorted(await session.scalars(query))

    async def sent(self, subject: str) -> int:
        """Messages recorded for a subject so far."""
        async with self.database.read() as session:
            found = await session.scalars(select(OutboxRow).where(OutboxRow.subject == subject))
            return len(found.all())


@asynccontextmanager
async def job_kit(folder: Path, **settings: Any) -> AsyncIterator[Kit]:
    """A kit on a database in the folder."""
    url = f"sqlite+aiosqlite:///{folder / 'registry.db'}"
    made = RegistrySettings(connection=folder / "connection.json", database_url=url, **settings)
    database = Database(url)
    async with database.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with database.write() as session:
        session.add(ProjectRow(name=PROJECT, display_name="P", create_time=now()))
    yield Kit(database, made)
    await database.close()
