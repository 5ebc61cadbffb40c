"""Runs of blocks as workers hold them: claim, settle, let go."""

from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.errors import BlocksNotClaimableError, LeaseLostError
from biosegment.registry.database import now
from biosegment.registry.jobs import ledger as ledgers
from biosegment.registry.jobs import rows, states
from biosegment.registry.settings import RegistrySettings
from biosegment.registry.tables.jobs import BlockFailureRow, JobRow, LedgerRow, RunRow
from biosegment.v1 import jobs_pb2

_MAX_RETRY_SECONDS = 60.0


async def _run(session: AsyncSession, job: str, first: int) -> RunRow | None:
    query = select(RunRow).where(RunRow.job == job, RunRow.first == first).with_for_update()
    return (await session.execute(query)).scalar_one_or_none()


async def held(session: AsyncSession, row: JobRow) -> bool:
    """Whether a worker holds the job, or blocks of it."""
    if row.stage != jobs_pb2.JOB_STAGE_BLOCKS:
        return bool(row.holder)
    await session.flush()
    query = select(RunRow.first).where(RunRow.job == row.name, RunRow.holder != "").limit(1)
    return (await session.execute(query)).first() is not None


async def claim(
    session: AsyncSession, job: str, first: int, holder: str, lease: float
) -> tuple[JobRow, RunRow, list[jobs_pb2.Block]]:
    """Gives a run to a worker under a new attempt.

    Returns:
        The job, the run, and its blocks that are not settled.

    Raises:
        BlocksNotClaimableError: The run is held or settled, or the job takes no blocks now.
    """
    row = await rows.load(session, job, lock=True)
    run = await _run(session, job, first)
    takes_blocks = row.state == states.RUNNING and row.stage == jobs_pb2.JOB_STAGE_BLOCKS
    due = run is not None and (run.not_before is None or run.not_before <= now())
    if not takes_blocks or run is None or run.holder or not due:
        raise BlocksNotClaimableError(
            f"The blocks from {first} of {job} cannot be claimed: they are settled, held or not "
            f"due (the job is {states.state_word(row.state)}).",
            name=job,
        )
    ledger = await session.get_one(LedgerRow, job)
    # One count for the job and all its runs, which a retry does not begin anew: no worker from
    # before a cancellation ever has the number of a later holder.
    row.attempt += 1
    run.attempt, run.part = row.attempt, 0.0
    run.holder = holder
    run.lease_until = now() + timedelta(seconds=lease)
    grid = ledgers.grid_of(ledger)
    skipped = await ledgers.settled(session, job, first, run.count)
    blocks = [
        jobs_pb2.Block(index=index, box=grid[index].to_proto())
        for index in range(first, first + run.count)
        if index not in skipped
    ]
    return row, run, blocks


async def settle(
    session: AsyncSession, request: jobs_pb2.SettleBlocksRequest, settings: RegistrySettings
) -> int:
    """Renews the lease of a run and settles blocks of it.

    Returns:
        The job's state, by which the worker goes on or stops.

    Raises:
        LeaseLostError: The attempt no longer holds the run.
    """
    row = await rows.load(session, request.job, lock=True)
    run = await _run(session, request.job, request.first_block)
    ledger = await session.get(LedgerRow, row.name)
    same_phase = ledger is not None and ledger.phase == request.phase
    if not same_phase or run is None or run.attempt != request.attempt or not run.holder:
        if same_phase and run is None and request.release and not request.failed_blocks:
            # The run ended with an earlier message of this attempt, of which the answer was lost.
            told = set(request.done_blocks)
            span = max(told, default=request.first_block) - request.first_block + 1
            if told <= await ledgers.done(session, row.name, request.first_block, span):
                return row.state
        raise LeaseLostError(
            f"Attempt {request.attempt} no longer holds the blocks from {request.first_block} of "
            f"{request.job}.",
            name=request.job,
        )
    assert ledger is not None
    own = range(run.first, run.first + run.count)
    await ledgers.set_done(
        session,
        ledger,
        {b for b in request.done_blocks if b in own},
        skipped=set(request.skipped_blocks),
    )
    delay = await _count_failures(
        session, ledger, (f for f in request.failed_blocks if f.block in own), settings
    )
    await session.flush()
    run.lease_until = now() + timedelta(seconds=settings.lease_seconds)
    # Written so that NaN is nothing.
    run.part = request.part if 0 <= request.part <= 1 else 0.0
    row.update_time = now()
    whole = len(await ledgers.settled(session, row.name, run.first, run.count)) == run.count
    if whole:
        await session.delete(run)
    elif request.release:
        put_back(session, row, run, delay)
    await move_on(session, row, ledger, settings)
    return row.state


async def _count_failures(
    session: AsyncSession,
    ledger: LedgerRow,
    failures: Iterable[jobs_pb2.BlockFailure],
    settings: RegistrySettings,
) -> float:
    """Counts failures of blocks, quarantines the hopeless; returns the delay before a retry."""
    delay = 0.0
    for failure in failures:
        known = await session.get(BlockFailureRow, (ledger.job, failure.block))
        if known is None:
            known = BlockFailureRow(
                job=ledger.job, block=failure.block, failures=0, quarantined=False, error=b""
            )
            session.add(known)
        known.failures += 1
        known.error = failure.error.SerializeToString()
        if known.failures >= settings.block_failures and not known.quarantined:
            known.quarantined = True
            ledger.quarantined += 1
        delay = max(delay, settings.retry_seconds * 2.0 ** (known.failures - 1))
    return min(delay, _MAX_RETRY_SECONDS)


def put_back(session: AsyncSession, row: JobRow, run: RunRow, delay: float) -> None:
    """Returns a run to the frontier, at once or (by the reconciler) after a delay."""
    run.holder = ""
    run.lease_until, run.part = None, 0.0
    run.not_before = now() + timedelta(seconds=delay) if delay else None
    run.publish_time = None
    if not delay and row.state == states.RUNNING:
        ledgers.wake_run(session, row, run)


async def move_on(
    session: AsyncSession, row: JobRow, ledger: LedgerRow, settings: RegistrySettings
) -> None:
    """Moves the frontier on; after the last block asks for a worker to finish the output.

    Of a job that is being cancelled or paused it waits for the runs in hand instead.
    """
    if row.stage != jobs_pb2.JOB_STAGE_BLOCKS:
        return
    if row.state == states.CANCELLING and not await held(session, row):
        await rows.end(session, row, states.CANCELLED)
    elif row.state == states.PAUSING and not await held(session, row):
        states.move(row, states.PAUSED)
    elif row.state == states.RUNNING and await ledgers.advance(
        session, row, ledger, settings.frontier_runs
    ):
        if ledger.quarantined == ledger.total:
            first = await session.scalar(
                select(BlockFailureRow.error)
                .where(BlockFailureRow.job == row.name)
                .order_by(BlockFailureRow.block)
                .limit(1)
            )
            error = jobs_pb2.JobError.FromString(first or b"")
            await rows.end(session, row, states.FAILED, error)
            return
        row.stage = jobs_pb2.JOB_STAGE_FINISH
        rows.wake(session, row)
