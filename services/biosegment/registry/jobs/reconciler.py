"""Puts right what crashes and lost messages leave behind.

Leases that lapsed go back to the queue; retries whose delay is over are
published; and where the bus holds fewer messages of a kind than the record has
work waiting, the missing wake-ups are published again.
"""

from biosegment.runtime import lean_nats  # noqa: F401

# isort: split
import asyncio
from datetime import timedelta

import nats.errors
import nats.js.errors
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.errors import DomainError
from biosegment.registry.database import Database, now
from biosegment.registry.jobs import blocks, rows, states, work
from biosegment.registry.jobs import ledger as ledgers
from biosegment.registry.settings import RegistrySettings
from biosegment.registry.tables.jobs import BlockFailureRow, JobRow, LedgerRow, RunRow
from biosegment.registry.tables.outbox import OutboxRow, RequestRow
from biosegment.runtime import log
from biosegment.runtime.bus import Bus
from biosegment.runtime.provision import BLOCK_KINDS, JOBS, KINDS
from biosegment.v1 import jobs_pb2

_log = log.get(__name__)
_BATCH = 500
_KIND_NUMBERS = {rows.kind_word(number): number for number in jobs_pb2.JobKind.values() if number}
# A wake-up may take this long from the outbox to the consumer before it counts as lost.
_SETTLING_SECONDS = 10.0
_WORKER_LOST = "WORKER_LOST"
# A driver may repeat a step's request for as long as its campaign waits for people.
_REQUESTS_KEPT = timedelta(days=90)


class Reconciler:
    """Sweeps the record from time to time. Several at once do no harm."""

    def __init__(self, database: Database, bus: Bus, settings: RegistrySettings) -> None:
        self._database = database
        self._bus = bus
        self._settings = settings

    async def run(self, stopping: asyncio.Event) -> None:
        """Sweeps until stopping is set."""
        while not stopping.is_set():
            try:
                await self.sweep()
            except (nats.errors.Error, nats.js.errors.Error, DomainError) as error:
                _log.info("reconciler.waited", error=str(error) or type(error).__name__)
            try:
                await asyncio.wait_for(stopping.wait(), self._settings.reconcile_seconds)
            except TimeoutError:
                continue

    async def sweep(self) -> None:
        """One sweep."""
        await self._lapsed_jobs()
        await self._lapsed_runs()
        await self._due()
        await self._lost_wakeups()
        await self._old_requests()

    async def _old_requests(self) -> None:
        """Forgets answers that nobody repeats a request for any more."""
        async with self._database.write() as session:
            old = now() - _REQUESTS_KEPT
            await session.execute(delete(RequestRow).where(RequestRow.create_time < old))

    async def _lapsed_jobs(self) -> None:
        async with self._database.write() as session:
            query = (
                select(JobRow)
                .where(JobRow.holder != "", JobRow.lease_until < now())
                .limit(_BATCH)
                .with_for_update(skip_locked=True)
            )
            for row in await session.scalars(query):
                _log.warning("job.lapsed", job=row.name, holder=row.holder, attempt=row.attempt)
                if row.state == states.CANCELLING:
                    await rows.end(session, row, states.CANCELLED)
                    continue
                error = jobs_pb2.JobError(
                    reason=_WORKER_LOST,
                    message=f"The worker {row.holder} stopped answering during attempt "
                    f"{row.attempt}.",
                    metadata={"holder": row.holder},
                )
                await work.retry_later(session, row, error, self._settings.retry_seconds)

    async def _lapsed_runs(self) -> None:
        async with self._database.write() as session:
            query = (
                select(RunRow)
                .where(RunRow.holder != "", RunRow.lease_until < now())
                .limit(_BATCH)
                .with_for_update(skip_locked=True)
            )
            for run in list(await session.scalars(query)):
                _log.warning("run.lapsed", job=run.job, first=run.first, holder=run.holder)
                await self._lapsed_run(session, run)

    async def _lapsed_run(self, session: AsyncSession, run: RunRow) -> None:
        row = await rows.load(session, run.job, lock=True)
        ledger = await session.get_one(LedgerRow, run.job)
        run.losses += 1
        error = jobs_pb2.JobError(
            reason=_WORKER_LOST,
            message=f"The worker {run.holder} stopped answering while it held the block.",
            metadata={"holder": run.holder},
        )
        if run.losses >= self._settings.max_failures:
            # Whatever is left of this run takes its worker down each time.
            done = await ledgers.settled(session, run.job, run.first, run.count)
            for block in set(range(run.first, run.first + run.count)) - done:
                # A block may have failed by itself before.
                await session.merge(
                    BlockFailureRow(
                        job=run.job,
                        block=block,
                        failures=run.losses,
                        quarantined=True,
                        error=error.SerializeToString(),
                    )
                )
                ledger.quarantined += 1
            await session.delete(run)
        else:
            blocks.put_back(session, row, run, self._settings.retry_seconds)
        row.update_time = now()
        await blocks.move_on(session, row, ledger, self._settings)

    async def _due(self) -> None:
        """Publishes retries whose delay is over."""
        async with self._database.write() as session:
            # Only of jobs that go on: what is paused must not crowd out what is not.
            jobs = select(JobRow).where(
                JobRow.publish_time.is_(None),
                JobRow.not_before <= now(),
                JobRow.state.in_((states.QUEUED, states.RUNNING)),
            )
            for row in await session.scalars(jobs.limit(_BATCH)):
                if work.claimable(row):
                    rows.wake(session, row)
            runs = (
                select(RunRow)
                .join(JobRow, JobRow.name == RunRow.job)
                .where(RunRow.publish_time.is_(None), RunRow.holder == "")
                .where(JobRow.state == states.RUNNING)
                .where(RunRow.not_before.is_(None) | (RunRow.not_before <= now()))
                .limit(_BATCH)
            )
            for run in list(await session.scalars(runs)):
                ledgers.wake_run(session, await rows.load(session, run.job), run)

    async def _lost_wakeups(self) -> None:
        """Compares what waits in the record with what the bus holds, kind by kind."""
        settled = now() - timedelta(seconds=_SETTLING_SECONDS)
        for kind in KINDS:
            number = _KIND_NUMBERS[kind]
            waiting = (
                select(JobRow)
                .where(JobRow.kind == number, JobRow.holder == "")
                .where(JobRow.state.in_((states.QUEUED, states.RUNNING)))
                .where(JobRow.stage != jobs_pb2.JOB_STAGE_BLOCKS, JobRow.publish_time < settled)
                .order_by(JobRow.publish_time)
            )
            async with self._database.read() as session:
                rows_waiting = list(await session.scalars(waiting.limit(_BATCH)))
                held = await session.scalar(
                    select(func.count())
                    .select_from(JobRow)
                    .where(JobRow.kind == number, JobRow.holder != "")
                )
            missing = await self._missing(f"jobs-{kind}", len(rows_waiting), held or 0)
            if missing:
                _log.warning("wakeups.republished", kind=kind, count=missing)
                async with self._database.write() as session:
                    for stale in rows_waiting[:missing]:
                        row = await rows.load(session, stale.name, lock=True)
                        if work.claimable(row):
                            rows.wake(session, row)
        for kind in BLOCK_KINDS:
            await self._lost_runs(kind, settled)

    async def _lost_runs(self, kind: str, settled: object) -> None:
        of_kind = select(JobRow.name).where(
            JobRow.kind == _KIND_NUMBERS[kind], JobRow.state == states.RUNNING
        )
        waiting = (
            select(RunRow)
            .where(RunRow.job.in_(of_kind), RunRow.holder == "", RunRow.publish_time < settled)
            .order_by(RunRow.publish_time)
        )
        async with self._database.read() as session:
            runs = list(await session.scalars(waiting.limit(_BATCH)))
            held = await session.scalar(
                select(func.count())
                .select_from(RunRow)
                .where(RunRow.job.in_(of_kind), RunRow.holder != "")
            )
        missing = await self._missing(f"blocks-{kind}", len(runs), held or 0)
        if not missing:
            return
        _log.warning("wakeups.republished", kind=f"{kind} blocks", count=missing)
        async with self._database.write() as session:
            for stale in runs[:missing]:
                run = await session.get(RunRow, (stale.job, stale.first))
                if run is not None and not run.holder:
                    ledgers.wake_run(session, await rows.load(session, run.job), run)

    async def _missing(self, durable: str, waiting: int, held: int) -> int:
        """How many wake-ups of a consumer must be published again."""
        if not waiting:
            return 0
        async with self._database.read() as session:
            if await session.scalar(select(func.count()).select_from(OutboxRow)):
                return 0  # Some are still on their way.
        info = await self._bus.js.consumer_info(JOBS, durable)
        on_the_bus = int(info.num_pending or 0) + int(info.num_ack_pending or 0)
        return max(0, min(waiting, waiting + held - on_the_bus))
