"""Jobs as people start, list, cancel and retry them."""

import uuid

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client import names
from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.registry.catalog.projects import require_project
from biosegment.registry.database import now
from biosegment.registry.jobs import blocks, rows, states
from biosegment.registry.jobs import ledger as ledgers
from biosegment.registry.paging import decode_token, encode_token, page_size
from biosegment.registry.settings import RegistrySettings
from biosegment.registry.tables.campaigns import CampaignRow
from biosegment.registry.tables.jobs import BlockFailureRow, JobRow, LedgerRow, RunRow
from biosegment.registry.values import kept_warnings
from biosegment.v1 import campaigns_pb2, jobs_pb2

_KINDS = {
    "import_spec": jobs_pb2.JOB_KIND_IMPORT,
    "export_spec": jobs_pb2.JOB_KIND_EXPORT,
    "rank_spec": jobs_pb2.JOB_KIND_RANK,
    "train_spec": jobs_pb2.JOB_KIND_TRAIN,
    "segment_spec": jobs_pb2.JOB_KIND_SEGMENT,
    "evaluate_spec": jobs_pb2.JOB_KIND_EVALUATE,
    "search_spec": jobs_pb2.JOB_KIND_SEARCH,
    "instances_spec": jobs_pb2.JOB_KIND_INSTANCES,
}


def _campaign_of(job: jobs_pb2.Job) -> str:
    which = job.WhichOneof("spec") or ""
    spec = getattr(job, which, None)
    found = getattr(spec, "round", "")
    if not found:
        outside: str = getattr(spec, "campaign", "")
        if outside:
            names.parse(names.CAMPAIGN, outside)
        return outside
    project, campaign, _ = names.parse(names.ROUND, found)
    return names.CAMPAIGN.format(project, campaign)


async def create(
    session: AsyncSession, parent: str, job: jobs_pb2.Job, creator: str, max_failures: int
) -> JobRow:
    """Records a job and queues it.

    Raises:
        InvalidArgumentError: The job has no spec.
        NotFoundError: There is no such project.
        FailedPreconditionError: It is for a campaign that is paused, failed or finished.
    """
    which = job.WhichOneof("spec")
    if which is None:
        raise InvalidArgumentError("The job has no spec: say what to do.", field="job.spec")
    await require_project(session, parent)
    campaign = _campaign_of(job)
    await _check_active(session, campaign)
    kept = jobs_pb2.Job()
    getattr(kept, which).CopyFrom(getattr(job, which))
    kept.labels.CopyFrom(job.labels)
    kept.warnings.extend(kept_warnings(job.warnings))
    row = JobRow(
        name=f"{parent}/jobs/{rows.kind_word(_KINDS[which])}-{uuid.uuid4().hex[:10]}",
        project=parent,
        kind=_KINDS[which],
        state=states.QUEUED,
        stage=jobs_pb2.JOB_STAGE_WORK,
        spec=kept.SerializeToString(),
        attempt=0,
        failures=0,
        max_failures=job.max_failures or max_failures,
        holder="",
        creator=creator,
        campaign=campaign,
        create_time=now(),
        update_time=now(),
    )
    session.add(row)
    rows.wake(session, row)
    await session.flush()
    return row


async def list_page(
    session: AsyncSession, request: jobs_pb2.ListJobsRequest
) -> tuple[list[JobRow], str]:
    """A page of jobs, newest first, and the token of the next one."""
    query = select(JobRow).order_by(JobRow.id.desc())
    if request.parent != "projects/-":
        await require_project(session, request.parent)
        query = query.where(JobRow.project == request.parent)
    if request.states:
        query = query.where(JobRow.state.in_(list(request.states)))
    if request.kinds:
        query = query.where(JobRow.kind.in_(list(request.kinds)))
    after = decode_token(request.page_token)
    if after:
        if not after.isdigit():
            raise InvalidArgumentError("The page_token is damaged; begin again without one.")
        query = query.where(JobRow.id < int(after))
    size = page_size(request.page_size)
    found = list(await session.scalars(query.limit(size + 1)))
    token = encode_token(str(found[size - 1].id)) if len(found) > size else ""
    return found[:size], token


async def finish(session: AsyncSession, name: str) -> JobRow:
    """Asks a training to end soon with what it has; one that has ended is left as it is.

    Raises:
        FailedPreconditionError: It is another kind of work, of which a part is worth nothing.
    """
    row = await rows.load(session, name, lock=True)
    if row.kind != jobs_pb2.JOB_KIND_TRAIN:
        raise FailedPreconditionError(
            f"{name} is work of the kind {rows.kind_word(row.kind)}; only a training can end early "
            "with what it has.",
            name=name,
        )
    if row.state not in states.TERMINAL and not row.finishing:
        row.finishing = True
        row.update_time = now()
    return row


async def cancel(session: AsyncSession, name: str) -> JobRow:
    """Asks for cancellation; a job that nobody works on ends at once."""
    row = await rows.load(session, name, lock=True)
    if row.state in states.TERMINAL or row.state == states.CANCELLING:
        return row
    if await blocks.held(session, row):
        states.move(row, states.CANCELLING)
        row.update_time = now()
    else:
        await rows.end(session, row, states.CANCELLED)
    return row


async def cancel_all_of(session: AsyncSession, campaign: str) -> list[JobRow]:
    """Asks for the cancellation of every job of a campaign that has not ended, oldest first."""
    query = (
        select(JobRow.name)
        .where(JobRow.campaign == campaign, JobRow.state.not_in(states.TERMINAL))
        .order_by(JobRow.id)
    )
    return [await cancel(session, name) for name in (await session.scalars(query)).all()]


async def _check_active(session: AsyncSession, campaign: str) -> None:
    """Raises FailedPreconditionError if a campaign is held: whoever drives it may not know yet."""
    row = await session.get(CampaignRow, campaign, with_for_update=True) if campaign else None
    if row is None or row.state == campaigns_pb2.CAMPAIGN_STATE_ACTIVE:
        return
    word = campaigns_pb2.CampaignState.Name(campaigns_pb2.CampaignState.ValueType(row.state))
    raise FailedPreconditionError(
        f"The campaign {names.short(campaign)} is {word.rpartition('_')[2].lower()}; nothing new "
        f"is started for it. Let it go on with: {names.command('campaign resume', campaign)}",
        name=campaign,
    )


async def retry(session: AsyncSession, name: str, settings: RegistrySettings) -> JobRow:
    """Queues an ended job again; of a blocked job only what is not done.

    Raises:
        FailedPreconditionError: The job has not ended, or ended well.
    """
    row = await rows.load(session, name, lock=True)
    if row.state not in states.RETRYABLE:
        raise FailedPreconditionError(
            f"{name} is {states.state_word(row.state)}; only a job that failed, was cancelled or "
            "succeeded in part can be retried.",
            name=name,
        )
    row.failures = 0
    row.finishing = False
    row.error = row.result = row.progress = None
    row.end_time = row.not_before = None
    row.update_time = now()
    ledger = await session.get(LedgerRow, name)
    if ledger is None:
        states.move(row, states.QUEUED)
        rows.wake(session, row)
        return row
    await session.execute(delete(BlockFailureRow).where(BlockFailureRow.job == name))
    await session.execute(delete(RunRow).where(RunRow.job == name))
    ledger.quarantined = ledger.cursor = 0
    states.move(row, states.RUNNING)
    row.stage = jobs_pb2.JOB_STAGE_BLOCKS
    if await ledgers.advance(session, row, ledger, settings.frontier_runs):
        row.stage = jobs_pb2.JOB_STAGE_FINISH
        rows.wake(session, row)
    return row
