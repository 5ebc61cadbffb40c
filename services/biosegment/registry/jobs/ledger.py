"""The ledger of a blocked job: one bit per block, and a frontier of runs on the bus.

Runs are cut from the block grid in order. At most ``frontier_runs`` exist at a
time, as rows and as messages, however many blocks a job has; a block whose bit
is set is never handed out again.
"""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.geometry import BlockGrid, Box, shape_of
from biosegment.registry.database import now
from biosegment.registry.jobs.rows import kind_word
from biosegment.registry.outbox import publish_message
from biosegment.registry.tables.jobs import (
    BlockFailureRow,
    JobRow,
    LedgerPageRow,
    LedgerRow,
    RunRow,
)
from biosegment.runtime.provision import block_subject
from biosegment.v1 import events_pb2, types_pb2

PAGE_BLOCKS = 4096


def grid_of(ledger: LedgerRow) -> BlockGrid:
    """The block grid of a ledger."""
    return BlockGrid(
        Box.from_proto(types_pb2.Box.FromString(ledger.box)),
        shape_of(types_pb2.Shape.FromString(ledger.block)),
    )


async def done(session: AsyncSession, job: str, first: int, count: int) -> set[int]:
    """Which of some blocks have their output stored."""
    found: set[int] = set()
    for page in range(first // PAGE_BLOCKS, (first + count - 1) // PAGE_BLOCKS + 1):
        row = await session.get(LedgerPageRow, (job, page))
        if row is not None:
            base = page * PAGE_BLOCKS
            found.update(
                block
                for block in range(max(first, base), min(first + count, base + PAGE_BLOCKS))
                if row.bits[(block - base) // 8] >> ((block - base) % 8) & 1
            )
    return found


async def settled(session: AsyncSession, job: str, first: int, count: int) -> set[int]:
    """Which of some blocks are done or quarantined."""
    query = select(BlockFailureRow.block).where(
        BlockFailureRow.job == job,
        BlockFailureRow.quarantined,
        BlockFailureRow.block.between(first, first + count - 1),
    )
    return await done(session, job, first, count) | set(await session.scalars(query))


async def set_done(
    session: AsyncSession, ledger: LedgerRow, blocks: set[int], *, skipped: set[int]
) -> None:
    """Sets the bits of blocks; ones that are set already change nothing.

    A block that was given up and worked after all is no longer quarantined.

    Args:
        session: The transaction.
        ledger: Of the job.
        blocks: Those that are done.
        skipped: Those of them for which nothing had to be computed; others are left out.
    """
    for page in sorted({block // PAGE_BLOCKS for block in blocks}):
        row = await session.get(LedgerPageRow, (ledger.job, page))
        if row is None:
            row = LedgerPageRow(job=ledger.job, page=page, bits=bytes(PAGE_BLOCKS // 8))
            session.add(row)
        bits = bytearray(row.bits)
        for block in blocks:
            if block // PAGE_BLOCKS == page:
                byte, bit = divmod(block % PAGE_BLOCKS, 8)
                fresh = not bits[byte] >> bit & 1
                ledger.done += fresh
                ledger.skipped += fresh and block in skipped
                bits[byte] |= 1 << bit
        row.bits = bytes(bits)
    # A run holds few enough to name in one query.
    failed = select(BlockFailureRow).where(
        BlockFailureRow.job == ledger.job, BlockFailureRow.block.in_(blocks)
    )
    for failure in await session.scalars(failed) if blocks else ():
        ledger.quarantined -= failure.quarantined
        await session.delete(failure)


async def advance(session: AsyncSession, row: JobRow, ledger: LedgerRow, frontier: int) -> bool:
    """Fills the frontier with the next runs that have something to do.

    Returns:
        Whether every block is settled.
    """
    await session.flush()
    open_runs = (
        await session.scalar(select(func.count()).select_from(RunRow).where(RunRow.job == row.name))
    ) or 0
    while open_runs < frontier and ledger.cursor < ledger.total:
        first = ledger.cursor
        count = min(ledger.run_length, ledger.total - first)
        ledger.cursor += count
        if len(await settled(session, row.name, first, count)) == count:
            continue
        run = RunRow(job=row.name, first=first, count=count)
        session.add(run)
        wake_run(session, row, run)
        open_runs += 1
    return open_runs == 0 and ledger.cursor >= ledger.total


def wake_run(session: AsyncSession, row: JobRow, run: RunRow) -> None:
    """Puts a wake-up for a run on the bus, when the transaction commits."""
    run.publish_time = now()
    publish_message(
        session,
        block_subject(kind_word(row.kind)),
        events_pb2.BlocksWakeup(job=row.name, first_block=run.first),
    )
