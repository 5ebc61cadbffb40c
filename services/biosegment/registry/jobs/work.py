"""Jobs as workers hold them: claim, heartbeat, complete, fail, plan.

Every write after the claim is fenced: it must carry the newest attempt of a
job that is still held.
"""

from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    JobNotClaimableError,
    LeaseLostError,
)
from biosegment.client.geometry import BlockGrid, Box, shape_of
from biosegment.registry.database import now
from biosegment.registry.jobs import ledger as ledgers
from biosegment.registry.jobs import rows, states
from biosegment.registry.results import apply_result
from biosegment.registry.settings import RegistrySettings
from biosegment.registry.tables.jobs import (
    BlockFailureRow,
    JobRow,
    LedgerPageRow,
    LedgerRow,
    RunRow,
)
from biosegment.v1 import jobs_pb2

_MAX_RETRY_SECONDS = 60.0
_MAX_BLOCKS = 100_000_000


def claimable(row: JobRow) -> bool:
    """Whether a worker may take the job now."""
    return (
        not row.holder
        and row.state in (states.QUEUED, states.RUNNING)
        and row.stage != jobs_pb2.JOB_STAGE_BLOCKS
        and (row.not_before is None or row.not_before <= now())
    )


async def claim(session: AsyncSession, name: str, holder: str, lease: float) -> JobRow:
    """Gives the job to a worker under a new attempt.

    Raises:
        JobNotClaimableError: It is held, not due, at its blocks, or ended.
    """
    row = await rows.load(session, name, lock=True)
    if not claimable(row):
        raise JobNotClaimableError(
            f"{name} cannot be claimed: it is {states.state_word(row.state)}"
            + (f" and held by {row.holder}." if row.holder else "."),
            name=name,
        )
    states.move(row, states.RUNNING)
    row.attempt += 1
    row.holder = holder
    row.lease_until = now() + timedelta(seconds=lease)
    row.start_time = row.start_time or now()
    row.update_time = now()
    return row


async def held(session: AsyncSession, name: str, attempt: int) -> JobRow:
    """The row of a job that the attempt still holds.

    Raises:
        LeaseLostError: It does not.
    """
    row = await rows.load(session, name, lock=True)
    if row.attempt != attempt or not row.holder:
        raise LeaseLostError(
            f"Attempt {attempt} no longer holds {name}: it is {states.state_word(row.state)} at "
            f"attempt {row.attempt}.",
            name=name,
        )
    return row


async def heartbeat(
    session: AsyncSession,
    name: str,
    attempt: int,
    progress: jobs_pb2.Progress | None,
    lease: float,
) -> JobRow:
    """Renews the lease; returns the job, by whose state the worker goes on or stops."""
    row = await held(session, name, attempt)
    row.lease_until = now() + timedelta(seconds=lease)
    if progress is not None:
        rows.note_progress(row, progress)
    row.update_time = now()
    return row


async def complete(
    session: AsyncSession, name: str, attempt: int, result: jobs_pb2.JobResult
) -> JobRow:
    """Ends the job with its result and records what follows from it.

    A repeat by the attempt that ended the job changes nothing.

    Raises:
        LeaseLostError: The attempt no longer holds the job.
    """
    row = await rows.load(session, name, lock=True)
    if row.attempt == attempt and row.state in (states.SUCCEEDED, states.PARTIALLY_SUCCEEDED):
        return row
    row = await held(session, name, attempt)
    ledger = await session.get(LedgerRow, name)
    whole = ledger is None or ledger.quarantined == 0
    if ledger is not None and ledger.done + ledger.quarantined < ledger.total:
        raise InvalidArgumentError(f"{name} has blocks that are not settled.", name=name)
    job = await rows.describe(session, row)
    applied = await apply_result(session, job, result, complete=whole)
    row.result = applied.SerializeToString()
    row.error = None
    rows.fill_progress(row)
    await rows.end(session, row, states.SUCCEEDED if whole else states.PARTIALLY_SUCCEEDED)
    return row


async def fail(
    session: AsyncSession,
    name: str,
    attempt: int,
    error: jobs_pb2.JobError,
    kind: int,
    retry_seconds: float,
) -> JobRow:
    """Ends the attempt without a result; the job is tried again, let go, or fails."""
    row = await rows.load(session, name, lock=True)
    if row.attempt == attempt and not row.holder:
        return row
    row = await held(session, name, attempt)
    if row.state == states.CANCELLING:
        await rows.end(session, row, states.CANCELLED)
    elif kind == jobs_pb2.FAILURE_KIND_PERMANENT:
        row.failures += 1
        await rows.end(session, row, states.FAILED, error)
    elif kind == jobs_pb2.FAILURE_KIND_RELEASED:
        _wait(row)
        if row.state == states.QUEUED:
            rows.wake(session, row)
    else:
        await retry_later(session, row, error, retry_seconds)
    return row


async def retry_later(
    session: AsyncSession, row: JobRow, error: jobs_pb2.JobError, retry_seconds: float
) -> None:
    """Counts a failure; queues the job for a later try, or fails it when it has had its tries.

    The reconciler publishes the wake-up when the delay is over.
    """
    row.failures += 1
    if row.failures >= row.max_failures:
        await rows.end(session, row, states.FAILED, error)
        return
    delay = min(_MAX_RETRY_SECONDS, retry_seconds * 2.0 ** (row.failures - 1))
    _wait(row)
    row.error = error.SerializeToString()
    row.not_before = now() + timedelta(seconds=delay)
    row.publish_time = None


def _wait(row: JobRow) -> None:
    """Ends the hold: the job waits for a worker, or for a person who asked for a pause."""
    states.move(row, states.PAUSED if row.state == states.PAUSING else states.QUEUED)
    rows.let_go(row)
    row.update_time = now()


async def plan(
    session: AsyncSession, request: jobs_pb2.PlanBlocksRequest, settings: RegistrySettings
) -> JobRow:
    """Opens the ledger and the frontier; the planning attempt ends.

    At stage FINISH the job goes through blocks once more, with a fresh ledger.

    Raises:
        InvalidArgumentError: The box or the blocks are empty, or there are absurdly many.
        FailedPreconditionError: Blocks of the phase before were given up.
        LeaseLostError: The attempt no longer holds the job.
    """
    row = await rows.load(session, request.job, lock=True)
    if row.attempt == request.attempt and row.stage == jobs_pb2.JOB_STAGE_BLOCKS:
        return row
    row = await held(session, request.job, request.attempt)
    if min(shape_of(request.block)) < 1:
        raise InvalidArgumentError("A block must hold at least one voxel on each axis.")
    total = len(BlockGrid(Box.from_proto(request.box), shape_of(request.block)))
    if total > _MAX_BLOCKS:
        raise InvalidArgumentError(
            f"{total} blocks are more than a job may have ({_MAX_BLOCKS}); take larger blocks."
        )
    if row.state == states.CANCELLING:
        await rows.end(session, row, states.CANCELLED)
        return row
    last = (
        await session.get(LedgerRow, row.name) if row.stage == jobs_pb2.JOB_STAGE_FINISH else None
    )
    if last is not None and last.quarantined:
        raise FailedPreconditionError(
            f"{last.quarantined} of {last.total} blocks of {row.name} were given up; what comes "
            "next needs them all.",
            name=row.name,
        )
    phase = last.phase + 1 if last is not None else 0
    for table in (LedgerPageRow, BlockFailureRow, RunRow, LedgerRow):
        await session.execute(delete(table).where(table.job == row.name))
    ledger = LedgerRow(
        job=row.name,
        box=request.box.SerializeToString(),
        block=request.block.SerializeToString(),
        run_length=max(1, request.run_length),
        total=total,
        done=0,
        quarantined=0,
        cursor=0,
        phase=phase,
        skipped=0,
        start_time=now(),
    )
    session.add(ledger)
    row.stage = jobs_pb2.JOB_STAGE_BLOCKS
    rows.let_go(row)
    row.update_time = now()
    if row.state == states.PAUSING:
        states.move(row, states.PAUSED)
    else:
        await ledgers.advance(session, row, ledger, settings.frontier_runs)
    return row
