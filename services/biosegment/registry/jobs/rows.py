"""Job rows: load, describe as messages, wake workers, end."""

from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.names import JOB, not_found
from biosegment.registry.database import now
from biosegment.registry.jobs import states
from biosegment.registry.outbox import publish_event, publish_message
from biosegment.registry.tables.jobs import BlockFailureRow, JobRow, LedgerRow, RunRow
from biosegment.runtime.provision import job_subject
from biosegment.v1 import events_pb2, jobs_pb2

_SHOWN_FAILURES = 20


def kind_word(kind: int) -> str:
    """A kind as the last token of a subject: train, not JOB_KIND_TRAIN."""
    name = jobs_pb2.JobKind.Name(jobs_pb2.JobKind.ValueType(kind))
    return name.removeprefix("JOB_KIND_").lower()


async def load(session: AsyncSession, name: str, *, lock: bool = False) -> JobRow:
    """The row of a job.

    Args:
        session: The transaction.
        name: projects/p/jobs/j
        lock: Hold the row until the transaction ends (for PostgreSQL; SQLite's writers are
            serialised anyway).

    Raises:
        NotFoundError: There is no such job.
    """
    query = select(JobRow).where(JobRow.name == name)
    row = (await session.execute(query.with_for_update() if lock else query)).scalar_one_or_none()
    if row is None:
        raise not_found(JOB, name)
    return row


async def describe(session: AsyncSession, row: JobRow) -> jobs_pb2.Job:
    """The message of a job, with its ledger summed up."""
    job = jobs_pb2.Job.FromString(row.spec)
    job.name = row.name
    job.kind = jobs_pb2.JobKind.ValueType(row.kind)
    job.state = jobs_pb2.JobState.ValueType(row.state)
    job.stage = jobs_pb2.JobStage.ValueType(row.stage)
    job.attempt, job.failures, job.max_failures = row.attempt, row.failures, row.max_failures
    job.holder, job.creator, job.finishing = row.holder, row.creator, row.finishing
    if row.result is not None:
        job.result.ParseFromString(row.result)
        job.warnings.extend(job.result.warnings)
        job.result.ClearField("warnings")
    if row.error is not None:
        job.error.ParseFromString(row.error)
    if row.progress is not None:
        job.progress.ParseFromString(row.progress)
        _hide_pace(job)
    for field in ("lease_until", "create_time", "start_time", "end_time", "update_time"):
        value: datetime | None = getattr(row, field)
        if value is not None:
            getattr(job, field).FromDatetime(value)
    ledger = await session.get(LedgerRow, row.name)
    if ledger is not None:
        await _add_ledger(session, job, row, ledger)
    return job


async def _add_ledger(
    session: AsyncSession, job: jobs_pb2.Job, row: JobRow, ledger: LedgerRow
) -> None:
    frontier, parts = (
        await session.execute(
            select(func.count(), func.sum(RunRow.part)).where(RunRow.job == row.name)
        )
    ).one()
    job.blocks.CopyFrom(
        jobs_pb2.BlockSummary(
            total=ledger.total,
            done=ledger.done,
            quarantined=ledger.quarantined,
            frontier=frontier or 0,
            phase=ledger.phase,
            skipped=ledger.skipped,
        )
    )
    if row.stage == jobs_pb2.JOB_STAGE_BLOCKS:
        job.progress.CopyFrom(_block_progress(ledger, parts or 0.0, row.end_time or now()))
        _hide_pace(job)
    if ledger.quarantined:
        from biosegment.registry.jobs.ledger import grid_of

        grid = grid_of(ledger)
        query = (
            select(BlockFailureRow)
            .where(BlockFailureRow.job == row.name, BlockFailureRow.quarantined)
            .order_by(BlockFailureRow.block)
            .limit(_SHOWN_FAILURES)
        )
        for failure in await session.scalars(query):
            job.partial_failures.append(
                jobs_pb2.BlockFailure(
                    block=failure.block,
                    box=grid[failure.block].to_proto(),
                    error=jobs_pb2.JobError.FromString(failure.error),
                )
            )


def _block_progress(ledger: LedgerRow, parts: float, until: datetime) -> jobs_pb2.Progress:
    """How far a job is with its blocks, counting what is computed of those in hand."""
    stage = f"blocks, phase {ledger.phase + 1}" if ledger.phase else "blocks"
    progress = jobs_pb2.Progress(done=ledger.done, total=ledger.total, stage=stage)
    elapsed = (until - ledger.start_time).total_seconds()
    # Not all: a block is done once its result is stored.
    done = min(ledger.done + parts, max(ledger.done, ledger.total - 0.01))
    progress.fraction = done / ledger.total
    if done and elapsed > 0:
        progress.rate = done / elapsed
        left = max(0.0, ledger.total - done - ledger.quarantined)
        progress.eta.CopyFrom(_seconds(left / progress.rate))
    return progress


def _hide_pace(job: jobs_pb2.Job) -> None:
    """A job that nobody works on has no pace, and no end in sight."""
    if job.state == states.PAUSED:
        job.progress.ClearField("rate")
        job.progress.ClearField("eta")


def _seconds(value: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=value))
    return duration


def note_progress(row: JobRow, progress: jobs_pb2.Progress) -> None:
    """Keeps a worker's progress, with the rate and the time left worked out from the last one."""
    last = jobs_pb2.Progress.FromString(row.progress) if row.progress else jobs_pb2.Progress()
    kept = jobs_pb2.Progress()
    kept.CopyFrom(progress)
    elapsed = (now() - row.update_time).total_seconds()
    moved = progress.done - last.done
    if progress.HasField("eta"):
        # The worker has measured it.
        if progress.total > progress.done:
            left = max(0.1, progress.eta.ToTimedelta().total_seconds())
            kept.rate = (progress.total - progress.done) / left
    elif progress.stage == last.stage and moved >= 0 and elapsed > 0:
        latest = moved / elapsed
        # Smoothed, so that the time left does not jump about.
        kept.rate = 0.7 * last.rate + 0.3 * latest if last.rate else latest
        if kept.rate > 0 and progress.total > 0:
            kept.eta.CopyFrom(_seconds((progress.total - progress.done) / kept.rate))
    row.progress = kept.SerializeToString()


def fill_progress(row: JobRow) -> None:
    """Shows a job that is done as done: its last heartbeat may be a little older."""
    if row.progress is not None:
        last = jobs_pb2.Progress.FromString(row.progress)
        last.done = last.total
        last.ClearField("eta")
        row.progress = last.SerializeToString()


def wake(session: AsyncSession, row: JobRow) -> None:
    """Puts a wake-up for the job on the bus, when the transaction commits."""
    row.publish_time = now()
    publish_message(session, job_subject(kind_word(row.kind)), events_pb2.JobWakeup(job=row.name))


def let_go(row: JobRow) -> None:
    """Ends the hold on a job."""
    row.holder = ""
    row.lease_until = None


async def end(
    session: AsyncSession, row: JobRow, state: int, error: jobs_pb2.JobError | None = None
) -> None:
    """Puts a job into a terminal state, tells of it, and clears its frontier.

    A job that failed also leaves a dead letter, for whoever looks after the platform.
    """
    states.move(row, state)
    let_go(row)
    row.end_time = row.update_time = now()
    row.not_before = None
    if error is not None:
        row.error = error.SerializeToString()
    await session.execute(delete(RunRow).where(RunRow.job == row.name))
    if state == states.FAILED:
        publish_message(
            session,
            f"biosegment.dead.{kind_word(row.kind)}",
            events_pb2.JobWakeup(job=row.name),
        )
    publish_event(
        session,
        events_pb2.JobEnded(
            job=row.name,
            kind=jobs_pb2.JobKind.ValueType(row.kind),
            state=jobs_pb2.JobState.ValueType(state),
            campaign=row.campaign,
        ),
        row.name,
    )
