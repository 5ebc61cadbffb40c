"""Campaigns."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
)
from biosegment.client.geometry import Box, shape_of
from biosegment.client.names import CAMPAIGN, VOLUME, not_found, parse, project_of
from biosegment.registry.catalog.datasets import require_dataset
from biosegment.registry.catalog.models import require_model, require_version
from biosegment.registry.catalog.projects import add_named, require_project
from biosegment.registry.database import now
from biosegment.registry.jobs import people
from biosegment.registry.listing import COMPARED, after_name, list_page
from biosegment.registry.outbox import publish_event
from biosegment.registry.tables.campaigns import CampaignRow
from biosegment.registry.tables.catalog import DatasetRow
from biosegment.registry.values import check_text, timestamp
from biosegment.v1 import campaigns_pb2 as pb
from biosegment.v1 import events_pb2, types_pb2

_ACTIVE, _PAUSED, _FINISHED, _FAILED = (
    pb.CAMPAIGN_STATE_ACTIVE,
    pb.CAMPAIGN_STATE_PAUSED,
    pb.CAMPAIGN_STATE_FINISHED,
    pb.CAMPAIGN_STATE_FAILED,
)
_TRANSITIONS: dict[int, Collection[int]] = {
    _ACTIVE: (_PAUSED, _FINISHED, _FAILED),
    _PAUSED: (_ACTIVE, _FINISHED, _FAILED),
    _FAILED: (_ACTIVE, _FINISHED),
    _FINISHED: (),
}
_PLAN_BYTES = 64 << 10


async def create_campaign(session: AsyncSession, given: pb.Campaign) -> pb.Campaign:
    """Records a campaign in state ACTIVE.

    Raises:
        InvalidArgumentError: A field is wrong.
        NotFoundError: There is no such project, data set, model or version.
        OutsideVolumeError: Patch, region or evaluation box leaves the data set.
        AlreadyExistsError: The name is taken.
    """
    parse(CAMPAIGN, given.name)
    project = project_of(given.name)
    await require_project(session, project)
    dataset = await require_dataset(session, given.dataset)
    await require_model(session, given.model)
    for name in (given.dataset, given.model):
        if project_of(name) != project:
            raise InvalidArgumentError(
                f"{name} belongs to another project than the campaign {given.name}.", name=name
            )
    await check_base(session, given.base_version, given.model)
    check_text(given.display_name, "campaign.display_name")
    _check_plan(given, dataset)
    plan = pb.Campaign()
    plan.CopyFrom(given)
    for field in ("state", "state_reason", "create_time", "waiting"):
        plan.ClearField(field)
    row = CampaignRow(
        name=given.name,
        project=project,
        dataset=given.dataset,
        model=given.model,
        plan=plan.SerializeToString(),
        state=_ACTIVE,
        state_reason="",
        create_time=now(),
    )
    await add_named(session, row, row.name, "campaign")
    return to_proto(row)


def _check_plan(given: pb.Campaign, dataset: DatasetRow) -> None:
    if not given.strategy.name:
        raise InvalidArgumentError(
            "The campaign names no strategy; docs/strategies.md has those on offer.",
            field="campaign.strategy",
        )
    for field in ("initial_patches", "batch_patches", "pool_patches", "budget_patches"):
        if getattr(given, field) < 1:
            raise InvalidArgumentError(
                f"campaign.{field} is {getattr(given, field)}; it must be 1 or more.",
                field=f"campaign.{field}",
            )
    if min(shape_of(given.patch)) < 1:
        raise InvalidArgumentError(
            f"The patch of {given.patch.z} × {given.patch.y} × {given.patch.x} voxels holds none; "
            "give its extent on each axis.",
            field="campaign.patch",
        )
    what = f'the data set "{dataset.name}"'
    Box.of_shape(shape_of(given.patch)).within(dataset.shape, what)
    if given.HasField("region"):
        level_zero(given.region, "campaign.region").within(dataset.shape, what)
    if given.HasField("evaluation"):
        parse(VOLUME, given.evaluation.reference_volume)
        if given.evaluation.HasField("box"):
            box = level_zero(given.evaluation.box, "campaign.evaluation.box")
            box.within(dataset.shape, what)
    if given.ByteSize() > _PLAN_BYTES:
        raise InvalidArgumentError(
            f"The campaign takes {given.ByteSize()} bytes, and at most {_PLAN_BYTES} are kept; "
            "give its strategy fewer parameters.",
            field="campaign",
        )


def level_zero(given: types_pb2.Box, field: str) -> Box:
    """A box of level 0.

    Raises:
        InvalidArgumentError: It holds no voxels, or counts voxels of another level.
    """
    box = Box.from_proto(given)
    if box.level != 0:
        raise InvalidArgumentError(
            f"{field} {box} counts voxels of level {box.level}; give it in voxels of level 0.",
            field=field,
        )
    return box


async def check_base(session: AsyncSession, version: str, model: str) -> None:
    """Returns if a version, if one is named, is one of the model.

    Raises:
        InvalidArgumentError: The name is damaged, or that of another model's version.
        NotFoundError: There is no such version.
    """
    if version and (await require_version(session, version)).model != model:
        raise InvalidArgumentError(f"{version} is not a version of {model}.", name=version)


async def require_campaign(session: AsyncSession, name: str, *, lock: bool = False) -> CampaignRow:
    """The row of a campaign.

    Args:
        session: The transaction.
        name: projects/p/campaigns/c
        lock: Hold the row until the transaction ends.

    Raises:
        InvalidArgumentError: The name does not follow the pattern.
        NotFoundError: There is no such campaign.
    """
    parse(CAMPAIGN, name)
    row = await session.get(CampaignRow, name, with_for_update=lock or None)
    if row is None:
        others = select(CampaignRow.name).where(CampaignRow.project == project_of(name))
        raise not_found(CAMPAIGN, name, await session.scalars(others.limit(COMPARED)))
    return row


async def list_campaigns(
    session: AsyncSession,
    project: str | None,
    states: Collection[int],
    page_size: int,
    page_token: str,
) -> tuple[list[pb.Campaign], str]:
    """A page of a project's campaigns (None: of all projects) by name, and the next token.

    Raises:
        InvalidArgumentError: page_size or page_token is wrong.
    """
    query = (
        select(CampaignRow)
        .where(CampaignRow.name > after_name(page_token))
        .order_by(CampaignRow.name)
    )
    if project is not None:
        query = query.where(CampaignRow.project == project)
    if states:
        query = query.where(CampaignRow.state.in_(list(states)))
    return await list_page(session, query, page_size, to_proto, lambda row: row.name)


async def set_campaign_state(
    session: AsyncSession, name: str, state: int, reason: str, *, keep_jobs: bool = False
) -> tuple[pb.Campaign, list[str]]:
    """Moves a campaign to another state and emits CampaignChanged; to its own does nothing.

    Args:
        session: The transaction.
        name: projects/p/campaigns/c
        state: The state wanted.
        reason: Why, in a sentence.
        keep_jobs: With FINISHED: do not cancel the jobs that it has started.

    Returns:
        The campaign, and the names of the jobs that were cancelled with it.

    Raises:
        InvalidArgumentError: The name is damaged, the state is none, or the reason too long.
        NotFoundError: There is no such campaign.
        FailedPreconditionError: The transition makes no sense.
    """
    row = await require_campaign(session, name, lock=True)
    check_text(reason, "reason", 2000)
    if state not in _TRANSITIONS:
        raise InvalidArgumentError(
            "Give the state wanted: ACTIVE, PAUSED, FINISHED or FAILED.", field="state"
        )
    if state == row.state:
        return to_proto(row), []
    if state not in _TRANSITIONS[row.state]:
        raise FailedPreconditionError(
            f'The campaign "{name}" is {state_word(row.state)} and cannot become '
            f"{state_word(state)}" + ("; start a new one." if row.state == _FINISHED else "."),
            name=name,
        )
    row.state, row.state_reason = state, reason
    publish_event(session, events_pb2.CampaignChanged(campaign=name), name)
    cancelled = []
    if state == _FINISHED and not keep_jobs:
        # Nobody waits for what they make any more, and they would hold the workers for hours.
        cancelled = [job.name for job in await people.cancel_all_of(session, name)]
    return to_proto(row), cancelled


def state_word(state: int) -> str:
    """ACTIVE, PAUSED and so on."""
    return pb.CampaignState.Name(pb.CampaignState.ValueType(state)).removeprefix("CAMPAIGN_STATE_")


def to_proto(row: CampaignRow) -> pb.Campaign:
    """The message of a row."""
    campaign = pb.Campaign.FromString(row.plan)
    campaign.state = pb.CampaignState.ValueType(row.state)
    campaign.state_reason = row.state_reason
    campaign.create_time.CopyFrom(timestamp(row.create_time))
    return campaign
