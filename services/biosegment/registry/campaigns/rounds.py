"""Rounds of campaigns."""

from collections.abc import Collection

from sqlalchemy import Integer, and_, cast, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.errors import (
    AbortedError,
    FailedPreconditionError,
    InvalidArgumentError,
)
from biosegment.client.names import CAMPAIGN, JOB, ROUND, not_found, parse, parse_int
from biosegment.registry.campaigns.campaigns import check_base, require_campaign, state_word
from biosegment.registry.catalog.datasets import require_dataset
from biosegment.registry.database import now
from biosegment.registry.listing import after_number, list_page
from biosegment.registry.tables.annotations import AnnotationRow
from biosegment.registry.tables.campaigns import CampaignRow, ProposalRow, RoundRow
from biosegment.registry.values import finite, timestamp
from biosegment.v1 import campaigns_pb2 as pb

_RANKING, _ANNOTATING, _TRAINING, _EVALUATING, _DONE = (
    pb.ROUND_STATE_RANKING,
    pb.ROUND_STATE_ANNOTATING,
    pb.ROUND_STATE_TRAINING,
    pb.ROUND_STATE_EVALUATING,
    pb.ROUND_STATE_DONE,
)
# Forward only; any state may be the last one, as when a campaign is closed.
_TRANSITIONS: dict[int, Collection[int]] = {
    _RANKING: (_RANKING, _ANNOTATING, _DONE),
    _ANNOTATING: (_ANNOTATING, _TRAINING, _DONE),
    _TRAINING: (_TRAINING, _EVALUATING, _DONE),
    _EVALUATING: (_EVALUATING, _DONE),
    _DONE: (_DONE,),
}

_REVISION_AT = len("/annotations/") + 1
# A round whose version is being measured keeps nobody from going on with it.
_PASSED = (_EVALUATING, _DONE)


async def create_round(
    session: AsyncSession, parent: str, index: int, base_version: str
) -> pb.Round:
    """Opens the next round, in state RANKING.

    Args:
        session: The transaction.
        parent: The campaign.
        index: The index that it must get.
        base_version: The version that will rank; empty for a random round.

    Raises:
        InvalidArgumentError: A name is damaged.
        NotFoundError: There is no such campaign or version.
        FailedPreconditionError: The campaign is not active.
        AbortedError: The index is not the next one, or the last round has no model version yet.
    """
    campaign = await require_campaign(session, parent, lock=True)
    if campaign.state != pb.CAMPAIGN_STATE_ACTIVE:
        raise FailedPreconditionError(
            f'The campaign "{parent}" is {state_word(campaign.state)}; it must be ACTIVE to get a '
            "new round.",
            name=parent,
        )
    last = await last_round(session, parent)
    if index != (last.index if last else 0) + 1 or (last and last.state not in _PASSED):
        stands = f"its newest is {last.index}, {round_word(last.state)}" if last else "it has none"
        raise AbortedError(
            f'Round {index} of "{parent}" cannot be opened: {stands}. Look at it again.',
            name=parent,
        )
    await check_base(session, base_version, campaign.model)
    time = now()
    row = RoundRow(
        campaign=parent,
        index=index,
        state=_RANKING,
        base_version=base_version,
        create_time=time,
        state_time=time,
    )
    session.add(row)
    try:
        await session.flush()
    except IntegrityError:
        raise AbortedError(
            f'Round {index} of "{parent}" was opened by somebody else; look at it again.',
            name=parent,
        ) from None
    return await to_proto(session, row)


async def last_round(session: AsyncSession, campaign: str) -> RoundRow | None:
    """The newest round of a campaign, None if it has none."""
    return await session.scalar(
        select(RoundRow)
        .where(RoundRow.campaign == campaign)
        .order_by(RoundRow.index.desc())
        .limit(1)
    )


async def require_round(session: AsyncSession, name: str, *, lock: bool = False) -> RoundRow:
    """The row of a round.

    Args:
        session: The transaction.
        name: projects/p/campaigns/c/rounds/i
        lock: Hold the row until the transaction ends.

    Raises:
        InvalidArgumentError: The name does not follow the pattern.
        NotFoundError: There is no such round.
    """
    ids, index = parse_int(ROUND, name)
    campaign = CAMPAIGN.format(*ids.split("/"))
    row = await session.get(RoundRow, (campaign, index), with_for_update=lock or None)
    if row is None:
        raise not_found(ROUND, name)
    return row


async def move_round(session: AsyncSession, request: pb.MoveRoundRequest) -> pb.Round:
    """Moves a round on if it is in the expected state, and records what is set.

    Raises:
        InvalidArgumentError: A name, state or figure is wrong.
        NotFoundError: There is no such round or version.
        AbortedError: The round is in another state.
        FailedPreconditionError: The transition makes no sense.
    """
    row = await require_round(session, request.name, lock=True)
    if request.state not in _TRANSITIONS or request.expected_state not in _TRANSITIONS:
        raise InvalidArgumentError(
            "Give expected_state and state: RANKING, ANNOTATING, TRAINING, EVALUATING or DONE.",
            field="state",
        )
    if row.state != request.expected_state:
        raise AbortedError(
            f'The round "{request.name}" is {round_word(row.state)} and no longer '
            f"{round_word(request.expected_state)}; look at it again.",
            name=request.name,
        )
    if request.state not in _TRANSITIONS[row.state]:
        raise FailedPreconditionError(
            f'The round "{request.name}" is {round_word(row.state)} and cannot become '
            f"{round_word(request.state)}.",
            name=request.name,
        )
    await _record(session, row, request.round)
    enter(row, request.state)
    return await to_proto(session, row)


async def _record(session: AsyncSession, row: RoundRow, given: pb.Round) -> None:
    campaign = await require_campaign(session, row.campaign)
    for field in ("rank_job", "train_job", "evaluate_job"):
        name = getattr(given, field)
        if name:
            parse(JOB, name)
            setattr(row, field, name)
    if given.version:
        await check_base(session, given.version, campaign.model)
        row.version = given.version
    if given.revision:
        newest = (await require_dataset(session, campaign.dataset)).revision
        if not 0 < given.revision <= newest:
            raise InvalidArgumentError(
                f"Revision {given.revision} is not one of {campaign.dataset}, whose newest is "
                f"{newest}.",
                field="round.revision",
            )
        row.revision = given.revision
    if given.metrics:
        row.metrics = {**row.metrics, **finite(given.metrics)}


def enter(row: RoundRow, state: int) -> None:
    """Puts a round into a state, and books the time spent in the one before."""
    if state == row.state:
        return
    time = now()
    word = round_word(row.state).lower()
    spent = row.seconds.get(word, 0.0) + (time - row.state_time).total_seconds()
    row.seconds = {**row.seconds, word: max(0.0, spent)}
    row.state, row.state_time = state, time


async def list_rounds(
    session: AsyncSession, campaign: str, page_size: int, page_token: str
) -> tuple[list[pb.Round], str]:
    """A page of a campaign's rounds, first to last, and the next page's token.

    Raises:
        InvalidArgumentError: page_size or page_token is wrong.
    """
    costs = await _costs(session, campaign)
    query = (
        select(RoundRow)
        .where(RoundRow.campaign == campaign, RoundRow.index > after_number(page_token))
        .order_by(RoundRow.index)
    )
    return await list_page(
        session, query, page_size, lambda row: _message(row, costs), lambda row: row.index
    )


async def _costs(session: AsyncSession, campaign: str) -> dict[int, pb.Cost]:
    """What the answers of each round that has some took, by its index."""
    p, a = ProposalRow, AnnotationRow
    # A proposal keeps the name of its annotation, which ends in the revision.
    revision = cast(func.substr(p.annotation, func.length(p.dataset) + _REVISION_AT), Integer)
    rows = await session.execute(
        select(
            p.round_index,
            func.count(),
            func.sum(a.labelled_voxels),
            func.sum(a.strokes),
            func.sum(a.seconds_spent),
        )
        .outerjoin(a, and_(a.dataset == p.dataset, a.revision == revision))
        .where(p.campaign == campaign, p.state == pb.PROPOSAL_STATE_DONE)
        .group_by(p.round_index)
    )
    return {
        index: pb.Cost(
            patches=patches,
            labelled_voxels=int(voxels or 0),
            strokes=int(strokes or 0),
            seconds=seconds or 0.0,
        )
        for index, patches, voxels, strokes, seconds in rows
    }


async def to_proto(session: AsyncSession, row: RoundRow) -> pb.Round:
    """The message of a row."""
    return _message(row, await _costs(session, row.campaign))


def _message(row: RoundRow, costs: dict[int, pb.Cost]) -> pb.Round:
    return pb.Round(
        name=row.name,
        state=pb.RoundState.ValueType(row.state),
        base_version=row.base_version,
        version=row.version,
        revision=row.revision,
        rank_job=row.rank_job,
        train_job=row.train_job,
        evaluate_job=row.evaluate_job,
        metrics=row.metrics,
        labelled_patches=sum(cost.patches for index, cost in costs.items() if index <= row.index),
        seconds=row.seconds,
        create_time=timestamp(row.create_time),
        state_time=timestamp(row.state_time),
        cost=costs.get(row.index, pb.Cost()),
    )


def round_word(state: int) -> str:
    """RANKING, ANNOTATING and so on."""
    return pb.RoundState.Name(pb.RoundState.ValueType(state)).removeprefix("ROUND_STATE_")


async def annotating_round(session: AsyncSession, campaign: CampaignRow) -> RoundRow | None:
    """The round of an active campaign whose proposals wait for people, None if there is none."""
    if campaign.state != pb.CAMPAIGN_STATE_ACTIVE:
        return None
    last = await last_round(session, campaign.name)
    return last if last is not None and last.state == _ANNOTATING else None
