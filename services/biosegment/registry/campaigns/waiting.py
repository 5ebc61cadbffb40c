"""What a campaign waits for, about how long, and what a person can do meanwhile.

The one place that says so: `campaign show`, `campaign claim` and every other tool tell what is
decided here, from the record alone.
"""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.names import command, short
from biosegment.registry.campaigns import proposals as people
from biosegment.registry.campaigns.rounds import last_round
from biosegment.registry.database import now
from biosegment.registry.jobs import rows, states
from biosegment.registry.tables.campaigns import CampaignRow, ProposalRow, RoundRow
from biosegment.registry.tables.jobs import JobRow
from biosegment.v1 import campaigns_pb2 as pb
from biosegment.v1 import jobs_pb2

_LEARNING = "The network learns from the raw voxels"
_SHOWN_CLAIMANTS = 3


async def waiting(session: AsyncSession, row: CampaignRow) -> pb.Waiting:
    """What a campaign waits for at this moment."""
    if row.state != pb.CAMPAIGN_STATE_ACTIVE:
        return await _held(session, row)
    current = await last_round(session, row.name)
    if current is None:
        return await _beginning(session, row)
    if current.state == pb.ROUND_STATE_ANNOTATING:
        return await _annotating(session, row, current)
    if current.state == pb.ROUND_STATE_DONE:
        return _next_round(row, current.index + 1)
    if current.state == pb.ROUND_STATE_TRAINING:
        name, what = current.train_job, f"The training on the answers of round {current.index}"
    elif current.state == pb.ROUND_STATE_EVALUATING:
        name, what = current.evaluate_job, "The measuring of the new version"
    else:
        name, what = current.rank_job, f"The ranking of candidates for round {current.index}"
        # A fresh look at the whole region comes before it.
        refreshing = await _running(session, row, jobs_pb2.JOB_KIND_SEGMENT)
        if not name and refreshing is not None:
            name, what = refreshing.name, "The segmentation of the region for its uncertainty"
    if not name:
        return pb.Waiting(
            message=f"{what} is about to begin.",
            advice=f"Look again in some seconds with: {command('campaign show', row.name)}",
        )
    return await _job(session, name, what)


async def _held(session: AsyncSession, row: CampaignRow) -> pb.Waiting:
    """Of a campaign that is not active."""
    reason = f" {row.state_reason}" if row.state_reason else ""
    resume = command("campaign resume", row.name)
    if row.state == pb.CAMPAIGN_STATE_FINISHED:
        return pb.Waiting(
            message=f"The campaign is finished.{reason}",
            advice=f"Its versions: {command('model versions', row.model)}",
        )
    if row.state == pb.CAMPAIGN_STATE_FAILED:
        return pb.Waiting(
            message=f"The campaign waits for a person to mend what failed.{reason}",
            advice=f"Once it is mended: {resume}",
        )
    running = await _running(session, row)
    ends = f" What runs already ends by itself ({short(running.name)})." if running else ""
    return pb.Waiting(
        message=f"The campaign is paused, nothing new is started.{reason}{ends}",
        advice=f"Let it go on with: {resume}",
    )


async def _beginning(session: AsyncSession, row: CampaignRow) -> pb.Waiting:
    """Of a campaign without a round."""
    plan = pb.Campaign.FromString(row.plan)
    start = await _start(session, row)
    if start is not None:
        return await _job(session, start.name, f"{_LEARNING} before it chooses the first patches")
    if not plan.automatic:
        return _next_round(row, 1)
    return pb.Waiting(
        message=f"The first patches are being drawn, which takes some seconds. {_pace(plan)}",
        advice=f"Take them with: {command('campaign claim', row.name)}",
    )


def _pace(plan: pb.Campaign) -> str:
    """About how long people will wait, as far as a plan says."""
    said = []
    if plan.HasField("pretraining"):
        much = _much(plan.pretraining)
        said.append(f"While you answer them the network learns from the raw voxels, for {much}.")
    said.append(f"Each training on answers takes {_much(plan.round_training)}.")
    return " ".join(said)


def _much(settings: jobs_pb2.TrainingSettings) -> str:
    if settings.max_seconds:
        return f"at most {settings.max_seconds / 60:.3g} min"
    return f"{settings.steps} steps"


def _next_round(row: CampaignRow, index: int) -> pb.Waiting:
    plan = pb.Campaign.FromString(row.plan)
    if plan.automatic:
        return pb.Waiting(
            message=f"Round {index} is about to begin.",
            advice=f"Look again in some seconds with: {command('campaign show', row.name)}",
        )
    pace = f" {_pace(plan)}" if index == 1 else ""
    return pb.Waiting(
        message=f"Round {index} waits for a person to open it: the campaign is not automatic."
        f"{pace}",
        advice=f"Open it with: {command('campaign advance', row.name)}",
    )


async def _annotating(session: AsyncSession, row: CampaignRow, current: RoundRow) -> pb.Waiting:
    """Of a campaign whose patches wait for people."""
    query = (
        select(ProposalRow)
        .where(ProposalRow.campaign == row.name, ProposalRow.round_index == current.index)
        .order_by(ProposalRow.number)
    )
    time = now()
    found = [(people.state_at(each, time), each) for each in await session.scalars(query)]
    settled = [s for s, _ in found if s in (pb.PROPOSAL_STATE_DONE, pb.PROPOSAL_STATE_SKIPPED)]
    start = await _start(session, row)
    if len(settled) == len(found):
        if start is not None:
            what = f"All patches of round {current.index} are answered. {_LEARNING}"
            return await _job(session, start.name, what)
        return pb.Waiting(
            message=f"All patches of round {current.index} are answered; the training is about to "
            "begin.",
            advice=f"Look again in some seconds with: {command('campaign show', row.name)}",
        )
    message = f"{len(settled)} of {len(found)} patches of round {current.index} are answered"
    lent = [each for state, each in found if state == pb.PROPOSAL_STATE_CLAIMED]
    if len(lent) + len(settled) == len(found):
        message += f"; the others are lent: {_lent(lent)}"
        advice = f"Take what comes back with: {command('campaign claim', row.name)}"
    else:
        advice = f"Take patches with: {command('campaign claim', row.name)}"
    if any(state == pb.PROPOSAL_STATE_DONE for state in settled):
        closing = command("campaign advance", row.name, "--close-round")
        advice += f". Train on what is answered with: {closing}"
    made = pb.Waiting(message=f"{message}.", advice=advice)
    if start is not None:
        beside = await _job(session, start.name, _LEARNING)
        made.message += f" {beside.message}"
        made.job = beside.job
        if pb.Campaign.FromString(row.plan).pretraining.max_seconds:
            made.message += " It ends when these patches are answered, or when its time is over."
        if beside.HasField("left"):
            made.left.CopyFrom(beside.left)
    return made


def _lent(lent: list[ProposalRow]) -> str:
    """Who has patches, and until when."""
    until: dict[str, tuple[int, datetime]] = {}
    for each in lent:
        count, last = until.get(each.claimant, (0, now()))
        until[each.claimant] = count + 1, max(last, each.lease_until or last)
    told = [
        f"{count} to {claimant} until {last:%H:%M} UTC"
        for claimant, (count, last) in sorted(until.items())[:_SHOWN_CLAIMANTS]
    ]
    more = len(until) - len(told)
    return ", ".join(told) + (f", and to {more} others" if more else "")


async def _start(session: AsyncSession, row: CampaignRow) -> JobRow | None:
    """The job that learns from raw voxels for a campaign, while it has not ended."""
    return await _running(session, row, jobs_pb2.JOB_KIND_TRAIN, in_round=False)


async def _running(
    session: AsyncSession, row: CampaignRow, kind: int | None = None, *, in_round: bool = True
) -> JobRow | None:
    query = select(JobRow).where(JobRow.campaign == row.name, JobRow.state.not_in(states.TERMINAL))
    if kind is not None:
        query = query.where(JobRow.kind == kind)
    for found in await session.scalars(query.order_by(JobRow.id.desc())):
        spec = jobs_pb2.Job.FromString(found.spec)
        if in_round or not spec.train_spec.round:
            return found
    return None


async def _job(session: AsyncSession, name: str, what: str) -> pb.Waiting:
    """Of a campaign that waits for a job."""
    row = await rows.load(session, name)
    job = await rows.describe(session, row)
    made = pb.Waiting(job=name, advice=f"Watch it with: {command('job watch', name)}")
    if row.state in states.HALTED:
        made.message = f"{what}: a person has paused it ({short(name)})."
        made.advice = f"Let it go on with: {command('job resume', name)}"
    elif row.state == states.QUEUED and row.failures:
        why = job.error.message
        made.message = f"{what}: a try failed and is about to be repeated ({short(name)}): {why}"
    elif row.state == states.QUEUED:
        made.message = f"{what}: it waits for a worker that is free ({short(name)})."
    elif row.state in states.TERMINAL:
        made.message = f"{what}: it has ended ({short(name)}), and the next step is about to begin."
    else:
        ending = ", and ends within seconds with what it has" if row.finishing else ""
        made.message = f"{what}{_how_far(job.progress)}{ending} ({short(name)})."
        if job.progress.HasField("eta"):
            made.left.CopyFrom(job.progress.eta)
    return made


def _how_far(progress: jobs_pb2.Progress) -> str:
    stage = f": {progress.stage}" if progress.stage else ": it has begun"
    if not progress.total:
        return stage
    if progress.fraction and progress.total < 100:
        return f"{stage}, {progress.fraction:.0%}"
    return f"{stage}, {progress.done} of {progress.total}"
