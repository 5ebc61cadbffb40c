"""Pause and resume, by a person.

A paused job keeps what it has: its ledger, its frontier, its checkpoint. Nothing of it is
claimable, so wake-ups that are still on the bus lead nowhere, and resuming publishes them again.
"""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.errors import FailedPreconditionError
from biosegment.registry.database import now
from biosegment.registry.jobs import blocks, rows, states
from biosegment.registry.jobs import ledger as ledgers
from biosegment.registry.settings import RegistrySettings
from biosegment.registry.tables.jobs import JobRow, LedgerRow, RunRow
from biosegment.v1 import jobs_pb2

# These keep what they have done when a worker lets go; of others everything would be lost.
_KEEPING = frozenset(
    {
        jobs_pb2.JOB_KIND_SEGMENT,
        jobs_pb2.JOB_KIND_INSTANCES,
        jobs_pb2.JOB_KIND_TRAIN,
        jobs_pb2.JOB_KIND_SEARCH,
    }
)
_ENDING = states.TERMINAL | {states.CANCELLING}


async def pause(session: AsyncSession, name: str) -> JobRow:
    """Asks for a pause; a job that nobody works on is paused at once.

    Raises:
        FailedPreconditionError: The job has ended or is being cancelled, or a worker does it in
            one piece.
    """
    row = await rows.load(session, name, lock=True)
    if row.state in states.HALTED:
        return row
    if row.state in _ENDING:
        raise FailedPreconditionError(
            f"{name} is {states.state_word(row.state)}; only a job that is waiting or running can "
            "be paused.",
            name=name,
        )
    held = await blocks.held(session, row)
    if held and row.kind not in _KEEPING:
        raise FailedPreconditionError(
            f"{name} is running, and work of the kind {rows.kind_word(row.kind)} is done in one "
            "piece: pausing would lose it all. Let it end, or cancel it and retry it later.",
            name=name,
        )
    states.move(row, states.PAUSING if held else states.PAUSED)
    row.update_time = now()
    return row


async def resume(session: AsyncSession, name: str, settings: RegistrySettings) -> JobRow:
    """Lets a paused job go on; one that is waiting or running is left as it is.

    Raises:
        FailedPreconditionError: The job has ended or is being cancelled.
    """
    row = await rows.load(session, name, lock=True)
    if row.state in _ENDING:
        hint = " `biosegment job retry` queues it again." * (row.state in states.RETRYABLE)
        raise FailedPreconditionError(
            f"{name} is {states.state_word(row.state)}; only a paused job can be resumed.{hint}",
            name=name,
        )
    if row.state == states.PAUSING:
        states.move(row, states.RUNNING)
    elif row.state == states.PAUSED:
        ledger = await session.get(LedgerRow, name)
        if ledger is not None:
            # Nothing has changed since it stood still: its pace does not count the pause.
            ledger.start_time += now() - row.update_time
        row.not_before = None
        at_blocks = row.stage == jobs_pb2.JOB_STAGE_BLOCKS
        states.move(row, states.RUNNING if at_blocks else states.QUEUED)
        if not at_blocks:
            rows.wake(session, row)
    else:
        return row
    row.update_time = now()
    await _wake_blocks(session, row, settings)
    return row


async def _wake_blocks(session: AsyncSession, row: JobRow, settings: RegistrySettings) -> None:
    """Publishes the frontier again, and fills it."""
    ledger = await session.get(LedgerRow, row.name)
    if ledger is None or row.stage != jobs_pb2.JOB_STAGE_BLOCKS:
        return
    query = select(RunRow).where(RunRow.job == row.name, RunRow.holder == "")
    for run in await session.scalars(query):
        # Those with a delay to come are the reconciler's.
        if run.not_before is None or run.not_before <= now():
            ledgers.wake_run(session, row, run)
        else:
            run.publish_time = None
    await blocks.move_on(session, row, ledger, settings)
