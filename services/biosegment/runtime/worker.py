"""Workers: take jobs and blocks that the bus announces, hold them by lease, report.

The bus only wakes. What counts is the claim in the registry; every later write
carries the attempt that the claim returned, and a worker that has lost its
lease stops. A job's message is acknowledged when the attempt is over, whatever
came of it: the registry publishes the next try itself.
"""

import asyncio
import contextlib
import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from biosegment.client.errors import (
    BlocksNotClaimableError,
    DomainError,
    InternalError,
    JobCancelledError,
    JobNotClaimableError,
    LeaseLostError,
    NotFoundError,
)
from biosegment.client.stubs import AsyncStubs
from biosegment.runtime import log
from biosegment.runtime.bus import Bus, Message
from biosegment.runtime.child import Child
from biosegment.runtime.provision import JOBS
from biosegment.v1 import events_pb2, jobs_pb2

_log = log.get(__name__)
_T = TypeVar("_T")
HEARTBEAT_SECONDS = 2.0
_CANCEL_GRACE_SECONDS = 30.0


def holder_name(host: str) -> str:
    """A name for this process that no other holder ever has."""
    return f"{host}/{os.getpid()}/{uuid.uuid4().hex[:8]}"


class _Lease(ABC):
    """Shared by jobs and runs of blocks: heartbeats, cancellation, loss."""

    def __init__(self, message: Message, seconds: float, stopping: asyncio.Event) -> None:
        self._message = message
        self._seconds = seconds
        self._stopping = stopping
        self.cancelled = asyncio.Event()
        self.released = False

    @abstractmethod
    async def beat(self) -> bool:
        """One heartbeat; True when cancellation is asked for."""

    async def hold(self, work: Awaitable[_T]) -> _T:
        """Runs the work under heartbeats.

        Raises:
            LeaseLostError: The lease was lost; the work was stopped.
            JobCancelledError: The work ended because it was cancelled or released.
        """
        task = asyncio.ensure_future(work)
        clock = asyncio.get_running_loop().time
        renewed = clock()
        stop_by: float | None = None
        try:
            while True:
                done, _ = await asyncio.wait([task], timeout=HEARTBEAT_SECONDS)
                if done:
                    return task.result()
                await self._message.keep()
                try:
                    if await self.beat():
                        self.cancelled.set()
                    renewed = clock()
                except LeaseLostError:
                    raise
                except DomainError as error:
                    _log.warning("heartbeat.failed", error=error.message)
                    if clock() - renewed > self._seconds:
                        raise LeaseLostError(
                            "The registry could not be reached for as long as the lease holds."
                        ) from None
                if self._stopping.is_set() and not self.cancelled.is_set():
                    self.released = True
                    self.cancelled.set()
                if self.cancelled.is_set():
                    stop_by = stop_by or clock() + _CANCEL_GRACE_SECONDS
                    if clock() > stop_by:
                        raise JobCancelledError("The work did not stop in time and was cut.")
        finally:
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def persist(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Makes a final write, again and again while the registry is away and the lease holds."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._seconds
        while True:
            try:
                return await call()
            except DomainError as error:
                if not error.retryable or clock() > deadline:
                    raise
                await self._message.keep()
                await asyncio.sleep(0.5)


class JobContext(_Lease):
    """What the handler of a job gets.

    Attributes:
        job: The job as claimed; job.stage says which part of a blocked job is due.
        stubs: Async stubs of the platform.
        cancelled: Set when the work must stop soon.
        finishing: Set when the work is to end soon with what it has.
    """

    def __init__(
        self,
        claim: jobs_pb2.ClaimJobResponse,
        stubs: AsyncStubs,
        message: Message,
        stopping: asyncio.Event,
    ) -> None:
        super().__init__(message, claim.lease.ToTimedelta().total_seconds(), stopping)
        self.job = claim.job
        self.stubs = stubs
        self.finishing = asyncio.Event()
        if claim.job.finishing:
            self.finishing.set()
        self._progress: jobs_pb2.Progress | None = None

    def progress(
        self,
        done: int,
        total: int,
        stage: str,
        figures: dict[str, float] | None = None,
        seconds_left: float | None = None,
    ) -> None:
        """Notes how far the work is; the next heartbeat tells the registry.

        Args:
            done: Units done.
            total: Units in all; 0 while unknown.
            stage: What is being done, in a word or two.
            figures: Of the moment.
            seconds_left: Until the end, where the work has measured it; else the registry does.
        """
        self._progress = jobs_pb2.Progress(
            done=done, total=total, stage=stage, figures=figures or {}
        )
        if seconds_left is not None:
            self._progress.eta.FromTimedelta(timedelta(seconds=max(0.0, seconds_left)))

    async def beat(self) -> bool:
        """Renews the lease and writes the noted progress; obeys a pause like a drain."""
        answer = await self.stubs.workers.HeartbeatJob(
            jobs_pb2.HeartbeatJobRequest(
                job=self.job.name, attempt=self.job.attempt, progress=self._progress
            ),
            timeout=5,
        )
        if answer.pause_requested and not self.cancelled.is_set():
            self.released = True
        if answer.finish_requested:
            self.finishing.set()
        return answer.cancel_requested or answer.pause_requested

    async def run_child(self, child: Child, target: str, **kwargs: Any) -> Any:
        """Runs a function in the child; its reports are kwargs of ``progress``."""
        return await child.run(
            target,
            on_report=lambda report: self.progress(**report),
            cancelled=self.cancelled,
            finishing=self.finishing,
            **kwargs,
        )


class BlockPlan:
    """What a handler returns to have the rest done block by block.

    At stage WORK it begins the first phase of blocks, at stage FINISH the next one.
    """

    def __init__(self, request: jobs_pb2.PlanBlocksRequest) -> None:
        self.request = request


JobHandler = Callable[[JobContext], Awaitable[jobs_pb2.JobResult | BlockPlan]]


def job_error(error: BaseException) -> jobs_pb2.JobError:
    """What the record keeps of an exception."""
    if isinstance(error, DomainError):
        return jobs_pb2.JobError(
            reason=error.reason, message=error.message, metadata=error.metadata
        )
    incident = uuid.uuid4().hex[:12]
    _log.error("work.failed", incident=incident, exc_info=error)
    first_line = (str(error).splitlines() or [""])[0][:500]
    return jobs_pb2.JobError(
        reason=InternalError.reason,
        message=f"Unexpected failure (incident {incident}): {first_line or type(error).__name__}",
        metadata={"incident": incident},
    )


def _failure_kind(error: BaseException, *, released: bool) -> "jobs_pb2.FailureKind.ValueType":
    if isinstance(error, JobCancelledError):
        return jobs_pb2.FAILURE_KIND_RELEASED if released else jobs_pb2.FAILURE_KIND_CANCELLED
    if isinstance(error, DomainError) and not error.retryable:
        return jobs_pb2.FAILURE_KIND_PERMANENT
    return jobs_pb2.FAILURE_KIND_RETRYABLE


class JobWorker:
    """Takes jobs of one kind, one at a time."""

    def __init__(
        self, kind: str, bus: Bus, stubs: AsyncStubs, handler: JobHandler, *, host: str
    ) -> None:
        self._kind = kind
        self._bus = bus
        self._stubs = stubs
        self._handler = handler
        self._holder = holder_name(host)

    async def run(self, stopping: asyncio.Event) -> None:
        """Works until stopping is set; a job in hand is then released."""
        async for message in self._bus.messages(JOBS, f"jobs-{self._kind}", stopping):
            name = events_pb2.JobWakeup.FromString(message.data).job
            try:
                await self._attempt(name, message, stopping)
            except (JobNotClaimableError, NotFoundError, LeaseLostError) as error:
                _log.info("job.left", job=name, reason=error.reason)
            except DomainError as error:
                # The registry is away: have the message again rather than lose the wake-up.
                _log.warning("job.postponed", job=name, error=error.message)
                await message.nak(2.0)
                continue
            await message.ack()

    async def _attempt(self, name: str, message: Message, stopping: asyncio.Event) -> None:
        claim = await self._stubs.workers.ClaimJob(
            jobs_pb2.ClaimJobRequest(job=name, holder=self._holder), timeout=10
        )
        context = JobContext(claim, self._stubs, message, stopping)
        attempt = claim.job.attempt
        _log.info("job.claimed", job=name, attempt=attempt)
        try:
            outcome = await context.hold(self._handler(context))
        except LeaseLostError:
            raise
        except Exception as error:  # noqa: BLE001 - reported to the registry
            await self._fail(context, attempt, error)
            return
        try:
            await self._hand_in(context, attempt, outcome)
        except LeaseLostError:
            raise
        except DomainError as error:
            # The record refuses the result or the plan (a name was taken meanwhile, say).
            await self._fail(context, attempt, error)
            return
        _log.info("job.attempt_ended", job=name, attempt=attempt)

    async def _hand_in(
        self, context: JobContext, attempt: int, outcome: jobs_pb2.JobResult | BlockPlan
    ) -> None:
        name = context.job.name
        if isinstance(outcome, BlockPlan):
            plan = jobs_pb2.PlanBlocksRequest()
            plan.CopyFrom(outcome.request)
            plan.job, plan.attempt = name, attempt
            await context.persist(lambda: self._stubs.workers.PlanBlocks(plan))
        else:
            done = jobs_pb2.CompleteJobRequest(job=name, attempt=attempt, result=outcome)
            await context.persist(lambda: self._stubs.workers.CompleteJob(done))

    async def _fail(self, context: JobContext, attempt: int, error: Exception) -> None:
        request = jobs_pb2.FailJobRequest(
            job=context.job.name,
            attempt=attempt,
            error=job_error(error),
            kind=_failure_kind(error, released=context.released),
        )
        _log.info("job.attempt_failed", job=context.job.name, attempt=attempt, error=str(error))
        await context.persist(lambda: self._stubs.workers.FailJob(request))


class BlocksContext(_Lease):
    """What the handler of a run of blocks gets.

    Attributes:
        job: The job, for its spec.
        blocks: The blocks to do.
        cancelled: Set when the work must stop soon.
        pausing: Whether the block in hand is to be the last one.
    """

    def __init__(
        self,
        claim: jobs_pb2.ClaimBlocksResponse,
        first_block: int,
        stubs: AsyncStubs,
        message: Message,
        stopping: asyncio.Event,
    ) -> None:
        super().__init__(message, claim.lease.ToTimedelta().total_seconds(), stopping)
        self.job = claim.job
        self.blocks = list(claim.blocks)
        self.stubs = stubs
        self._first = first_block
        self._attempt = claim.attempt
        self.pausing = False
        self._done: list[int] = []
        self._skipped: set[int] = set()
        self._failed: list[jobs_pb2.BlockFailure] = []
        self._part = (0, 0.0)

    def part(self, block: int, fraction: float) -> None:
        """Notes how much of the block in hand is computed, 0 to 1."""
        self._part = block, fraction

    def done(self, block: int, *, skipped: bool = False) -> None:
        """Notes that a block's output is stored, or that nothing had to be computed for it."""
        self._done.append(block)
        if skipped:
            self._skipped.add(block)
        self._stop_if_pausing()

    def failed(self, block: jobs_pb2.Block, error: BaseException) -> None:
        """Notes that a block failed."""
        self._failed.append(
            jobs_pb2.BlockFailure(block=block.index, box=block.box, error=job_error(error))
        )
        self._stop_if_pausing()

    def _stop_if_pausing(self) -> None:
        # Between two blocks: what the next one has got ahead with meanwhile is little.
        if self.pausing:
            self.cancelled.set()

    async def beat(self, release: bool = False) -> bool:
        """Renews the lease and settles the noted blocks."""
        done, failed = list(self._done), list(self._failed)
        block, part = self._part
        answer = await self.stubs.workers.SettleBlocks(
            jobs_pb2.SettleBlocksRequest(
                job=self.job.name,
                first_block=self._first,
                attempt=self._attempt,
                done_blocks=done,
                failed_blocks=failed,
                release=release,
                phase=self.job.blocks.phase,
                skipped_blocks=sorted(self._skipped.intersection(done)),
                part=0.0 if block in done else part,
            ),
            timeout=10,
        )
        del self._done[: len(done)], self._failed[: len(failed)]
        if block in done and self._part[0] == block:
            self._part = block, 0.0
        self.pausing = answer.pause_requested
        return answer.cancel_requested


BlocksHandler = Callable[[BlocksContext], Awaitable[None]]


class BlockWorker:
    """Takes runs of blocks of jobs of one kind, one run at a time."""

    def __init__(
        self, kind: str, bus: Bus, stubs: AsyncStubs, handler: BlocksHandler, *, host: str
    ) -> None:
        self._kind = kind
        self._bus = bus
        self._stubs = stubs
        self._handler = handler
        self._holder = holder_name(host)

    async def run(self, stopping: asyncio.Event) -> None:
        """Works until stopping is set; a run in hand is then released."""
        async for message in self._bus.messages(JOBS, f"blocks-{self._kind}", stopping):
            wakeup = events_pb2.BlocksWakeup.FromString(message.data)
            try:
                await self._attempt(wakeup, message, stopping)
            except (BlocksNotClaimableError, NotFoundError, LeaseLostError) as error:
                _log.info(
                    "blocks.left", job=wakeup.job, first=wakeup.first_block, reason=error.reason
                )
            except DomainError as error:
                _log.warning("blocks.postponed", job=wakeup.job, error=error.message)
                await message.nak(2.0)
                continue
            await message.ack()

    async def _attempt(
        self, wakeup: events_pb2.BlocksWakeup, message: Message, stopping: asyncio.Event
    ) -> None:
        claim = await self._stubs.workers.ClaimBlocks(
            jobs_pb2.ClaimBlocksRequest(
                job=wakeup.job, first_block=wakeup.first_block, holder=self._holder
            ),
            timeout=10,
        )
        context = BlocksContext(claim, wakeup.first_block, self._stubs, message, stopping)
        try:
            await context.hold(self._handler(context))
        except LeaseLostError:
            raise
        except JobCancelledError:
            # What is not settled goes back to the frontier, below.
            _log.info("blocks.stopped", job=wakeup.job, first=wakeup.first_block)
        except Exception as error:  # noqa: BLE001 - reported to the registry
            settled = {*context._done, *(failure.block for failure in context._failed)}
            for block in context.blocks:
                if block.index not in settled:
                    context.failed(block, error)
        await context.persist(lambda: context.beat(release=True))
