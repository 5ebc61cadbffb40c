"""JobService and WorkerService: messages in and out, one transaction a call."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc.aio
from google.protobuf.duration_pb2 import Duration

from biosegment.registry.database import Database
from biosegment.registry.jobs import blocks, pauses, people, rows, states, work
from biosegment.registry.jobs.watch import wait_for_change
from biosegment.registry.requests import once
from biosegment.registry.settings import RegistrySettings
from biosegment.runtime.server import principal
from biosegment.v1 import jobs_pb2, jobs_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class JobServicer(jobs_pb2_grpc.JobServiceServicer):
    """Jobs as people see them."""

    def __init__(self, database: Database, settings: RegistrySettings) -> None:
        self._database = database
        self._settings = settings

    async def CreateJob(
        self, request: jobs_pb2.CreateJobRequest, context: Context
    ) -> jobs_pb2.CreateJobResponse:
        """Records a job and queues it."""
        async with self._database.write() as session:

            async def make() -> jobs_pb2.CreateJobResponse:
                row = await people.create(
                    session,
                    request.parent,
                    request.job,
                    principal.get(),
                    self._settings.max_failures,
                )
                return jobs_pb2.CreateJobResponse(job=await rows.describe(session, row))

            # Else one id for a training and a segmentation would get the training twice.
            method = f"CreateJob/{request.job.WhichOneof('spec')}"
            return await once(session, method, request.request_id, jobs_pb2.CreateJobResponse, make)

    async def GetJob(
        self, request: jobs_pb2.GetJobRequest, context: Context
    ) -> jobs_pb2.GetJobResponse:
        """One job."""
        async with self._database.read() as session:
            row = await rows.load(session, request.name)
            return jobs_pb2.GetJobResponse(job=await rows.describe(session, row))

    async def ListJobs(
        self, request: jobs_pb2.ListJobsRequest, context: Context
    ) -> jobs_pb2.ListJobsResponse:
        """Jobs, newest first."""
        async with self._database.read() as session:
            found, token = await people.list_page(session, request)
            jobs = [await rows.describe(session, row) for row in found]
            return jobs_pb2.ListJobsResponse(jobs=jobs, next_page_token=token)

    async def WatchJob(
        self, request: jobs_pb2.WatchJobRequest, context: Context
    ) -> AsyncIterator[jobs_pb2.WatchJobResponse]:
        """A snapshot, then each change, until the job has ended."""
        last = b""
        async with self._database.changes() as changed:
            while True:
                changed.clear()
                async with self._database.read() as session:
                    row = await rows.load(session, request.name)
                    job = await rows.describe(session, row)
                if (snapshot := job.SerializeToString(deterministic=True)) != last:
                    last = snapshot
                    yield jobs_pb2.WatchJobResponse(job=job)
                if job.state in states.TERMINAL:
                    return
                await wait_for_change(changed)

    async def CancelJob(
        self, request: jobs_pb2.CancelJobRequest, context: Context
    ) -> jobs_pb2.CancelJobResponse:
        """Asks for cancellation."""
        async with self._database.write() as session:
            row = await people.cancel(session, request.name)
            return jobs_pb2.CancelJobResponse(job=await rows.describe(session, row))

    async def PauseJob(
        self, request: jobs_pb2.PauseJobRequest, context: Context
    ) -> jobs_pb2.PauseJobResponse:
        """Asks for a pause."""
        async with self._database.write() as session:
            row = await pauses.pause(session, request.name)
            return jobs_pb2.PauseJobResponse(job=await rows.describe(session, row))

    async def ResumeJob(
        self, request: jobs_pb2.ResumeJobRequest, context: Context
    ) -> jobs_pb2.ResumeJobResponse:
        """Lets a paused job go on."""
        async with self._database.write() as session:
            row = await pauses.resume(session, request.name, self._settings)
            return jobs_pb2.ResumeJobResponse(job=await rows.describe(session, row))

    async def FinishJob(
        self, request: jobs_pb2.FinishJobRequest, context: Context
    ) -> jobs_pb2.FinishJobResponse:
        """Asks a training to end with what it has."""
        async with self._database.write() as session:
            row = await people.finish(session, request.name)
            return jobs_pb2.FinishJobResponse(job=await rows.describe(session, row))

    async def RetryJob(
        self, request: jobs_pb2.RetryJobRequest, context: Context
    ) -> jobs_pb2.RetryJobResponse:
        """Queues an ended job again."""
        async with self._database.write() as session:

            async def make() -> jobs_pb2.RetryJobResponse:
                row = await people.retry(session, request.name, self._settings)
                return jobs_pb2.RetryJobResponse(job=await rows.describe(session, row))

            return await once(
                session, "RetryJob", request.request_id, jobs_pb2.RetryJobResponse, make
            )


class WorkerServicer(jobs_pb2_grpc.WorkerServiceServicer):
    """Jobs as workers see them."""

    def __init__(self, database: Database, settings: RegistrySettings) -> None:
        self._database = database
        self._settings = settings

    def _lease(self) -> Duration:
        lease = Duration()
        lease.FromTimedelta(timedelta(seconds=self._settings.lease_seconds))
        return lease

    async def ClaimJob(
        self, request: jobs_pb2.ClaimJobRequest, context: Context
    ) -> jobs_pb2.ClaimJobResponse:
        """Takes a job."""
        async with self._database.write() as session:
            row = await work.claim(
                session, request.job, request.holder, self._settings.lease_seconds
            )
            job = await rows.describe(session, row)
            return jobs_pb2.ClaimJobResponse(job=job, lease=self._lease())

    async def HeartbeatJob(
        self, request: jobs_pb2.HeartbeatJobRequest, context: Context
    ) -> jobs_pb2.HeartbeatJobResponse:
        """Renews the lease."""
        progress = request.progress if request.HasField("progress") else None
        async with self._database.write() as session:
            row = await work.heartbeat(
                session, request.job, request.attempt, progress, self._settings.lease_seconds
            )
            return jobs_pb2.HeartbeatJobResponse(
                cancel_requested=row.state == states.CANCELLING,
                pause_requested=row.state in states.HALTED,
                finish_requested=row.finishing,
            )

    async def CompleteJob(
        self, request: jobs_pb2.CompleteJobRequest, context: Context
    ) -> jobs_pb2.CompleteJobResponse:
        """Ends the job with its result."""
        async with self._database.write() as session:
            row = await work.complete(session, request.job, request.attempt, request.result)
            return jobs_pb2.CompleteJobResponse(job=await rows.describe(session, row))

    async def FailJob(
        self, request: jobs_pb2.FailJobRequest, context: Context
    ) -> jobs_pb2.FailJobResponse:
        """Ends the attempt without a result."""
        async with self._database.write() as session:
            row = await work.fail(
                session,
                request.job,
                request.attempt,
                request.error,
                request.kind,
                self._settings.retry_seconds,
            )
            return jobs_pb2.FailJobResponse(job=await rows.describe(session, row))

    async def PlanBlocks(
        self, request: jobs_pb2.PlanBlocksRequest, context: Context
    ) -> jobs_pb2.PlanBlocksResponse:
        """Opens the ledger."""
        async with self._database.write() as session:
            row = await work.plan(session, request, self._settings)
            return jobs_pb2.PlanBlocksResponse(job=await rows.describe(session, row))

    async def ClaimBlocks(
        self, request: jobs_pb2.ClaimBlocksRequest, context: Context
    ) -> jobs_pb2.ClaimBlocksResponse:
        """Takes a run of blocks."""
        async with self._database.write() as session:
            row, run, todo = await blocks.claim(
                session,
                request.job,
                request.first_block,
                request.holder,
                self._settings.lease_seconds,
            )
            job = await rows.describe(session, row)
            return jobs_pb2.ClaimBlocksResponse(
                job=job, attempt=run.attempt, blocks=todo, lease=self._lease()
            )

    async def SettleBlocks(
        self, request: jobs_pb2.SettleBlocksRequest, context: Context
    ) -> jobs_pb2.SettleBlocksResponse:
        """Renews a run's lease and settles blocks of it."""
        async with self._database.write() as session:
            state = await blocks.settle(session, request, self._settings)
            return jobs_pb2.SettleBlocksResponse(
                cancel_requested=state != states.RUNNING and state not in states.HALTED,
                pause_requested=state in states.HALTED,
            )
