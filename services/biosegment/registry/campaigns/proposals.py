"""Proposals: listing, claiming, returning and answering them."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, and_, false, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
)
from biosegment.client.geometry import Box
from biosegment.client.names import CAMPAIGN, PROPOSAL, not_found, parse_int
from biosegment.registry.campaigns.campaigns import require_campaign
from biosegment.registry.campaigns.rounds import annotating_round
from biosegment.registry.database import now
from biosegment.registry.listing import after_number, list_page
from biosegment.registry.tables.campaigns import ProposalRow, RoundRow
from biosegment.registry.values import check_seconds, check_text, timestamp
from biosegment.v1 import campaigns_pb2 as pb

_OPEN, _CLAIMED, _DONE, _SKIPPED = (
    pb.PROPOSAL_STATE_OPEN,
    pb.PROPOSAL_STATE_CLAIMED,
    pb.PROPOSAL_STATE_DONE,
    pb.PROPOSAL_STATE_SKIPPED,
)
_MOST_CLAIMS = 1000
_LEASE_SECONDS = 30 * 60.0
_LONGEST_LEASE_SECONDS = 24 * 3600.0


def _free(time: datetime) -> ColumnElement[bool]:
    lapsed = and_(ProposalRow.state == _CLAIMED, ProposalRow.lease_until <= time)
    return or_(ProposalRow.state == _OPEN, lapsed)


def state_at(row: ProposalRow, time: datetime) -> int:
    """Where a proposal stands at a time; a claim that was not renewed is none."""
    lapsed = row.state == _CLAIMED and row.lease_until is not None and row.lease_until <= time
    return _OPEN if lapsed else row.state


async def require_proposal(session: AsyncSession, name: str, *, lock: bool = False) -> ProposalRow:
    """The row of a proposal.

    Args:
        session: The transaction.
        name: projects/p/campaigns/c/proposals/n
        lock: Hold the row until the transaction ends.

    Raises:
        InvalidArgumentError: The name does not follow the pattern.
        NotFoundError: There is no such proposal.
    """
    ids, number = parse_int(PROPOSAL, name)
    campaign = CAMPAIGN.format(*ids.split("/"))
    row = await session.get(ProposalRow, (campaign, number), with_for_update=lock or None)
    if row is None:
        raise not_found(PROPOSAL, name)
    return row


async def list_proposals(
    session: AsyncSession, request: pb.ListProposalsRequest
) -> tuple[list[pb.Proposal], str]:
    """A page of a campaign's proposals, by round, best first, and the next page's token.

    Raises:
        InvalidArgumentError: page_size or page_token is wrong.
    """
    after = after_number(request.page_token)
    time = now()
    query = (
        select(ProposalRow)
        .where(ProposalRow.campaign == request.parent, ProposalRow.number > after)
        .order_by(ProposalRow.number)
    )
    if request.round_index:
        query = query.where(ProposalRow.round_index == request.round_index)
    if request.states:
        query = query.where(_in_states(request.states, time))
    return await list_page(
        session,
        query,
        request.page_size,
        lambda row: to_proto(row, time),
        lambda row: row.number,
    )


def _in_states(states: Collection[int], time: datetime) -> ColumnElement[bool]:
    held = and_(ProposalRow.state == _CLAIMED, ProposalRow.lease_until > time)
    settled = [state for state in states if state in (_DONE, _SKIPPED)]
    return or_(
        _free(time) if _OPEN in states else false(),
        held if _CLAIMED in states else false(),
        ProposalRow.state.in_(settled),
    )


async def claim_proposals(
    session: AsyncSession, request: pb.ClaimProposalsRequest
) -> list[pb.Proposal]:
    """Lends proposals of the round that is being annotated, the claimant's own first.

    Raises:
        InvalidArgumentError: Name, claimant, count or lease is wrong.
        NotFoundError: There is no such campaign.
    """
    campaign = await require_campaign(session, request.parent)
    claimant = _claimant(request.claimant)
    if request.count < 0:
        raise InvalidArgumentError("count must not be negative.", field="count")
    count = min(request.count or 1, _MOST_CLAIMS)
    lease = _LEASE_SECONDS
    if request.HasField("lease"):
        lease = check_seconds(request.lease, "lease", _LONGEST_LEASE_SECONDS)
        if lease == 0:
            raise InvalidArgumentError("lease must be longer than 0 s.", field="lease")
    current = await annotating_round(session, campaign)
    if current is None:
        return []
    time = now()
    own = and_(ProposalRow.state == _CLAIMED, ProposalRow.claimant == claimant)
    until = time + timedelta(seconds=lease)
    lent: list[ProposalRow] = []
    for takeable in (own, _free(time)):
        candidates = await session.scalars(
            select(ProposalRow)
            .where(
                ProposalRow.campaign == current.campaign,
                ProposalRow.round_index == current.index,
                takeable,
            )
            .order_by(ProposalRow.number)
            .limit(count - len(lent))
            # Others claim at the same moment: what they hold is passed by, not waited for.
            .with_for_update(skip_locked=True)
        )
        rows = candidates.all()
        lent += [row for row in rows if await _take(session, row, takeable, claimant, until)]
    return [to_proto(row, time) for row in lent]


async def _take(
    session: AsyncSession,
    row: ProposalRow,
    takeable: ColumnElement[bool],
    claimant: str,
    lease_until: datetime,
) -> bool:
    taken = await session.execute(
        update(ProposalRow)
        .where(ProposalRow.campaign == row.campaign, ProposalRow.number == row.number, takeable)
        .values(state=_CLAIMED, claimant=claimant, lease_until=lease_until)
        .execution_options(synchronize_session=False)
    )
    await session.refresh(row)
    return cast("CursorResult[Any]", taken).rowcount == 1


def _claimant(given: str) -> str:
    if not given:
        raise InvalidArgumentError(
            "claimant is empty; say who labels, such as a user name and the tool.",
            field="claimant",
        )
    return check_text(given, "claimant")


async def return_proposal(
    session: AsyncSession, name: str, claimant: str, *, skip: bool
) -> pb.Proposal:
    """Gives a claimed proposal back, or passes it over for good.

    Raises:
        InvalidArgumentError: The name is damaged or the claimant empty.
        NotFoundError: There is no such proposal.
        FailedPreconditionError: Somebody else holds it, or it is settled.
    """
    row = await require_proposal(session, name, lock=True)
    time = now()
    _check_free_for(row, _claimant(claimant), time, settled=(_DONE,) if skip else (_DONE, _SKIPPED))
    _settle(row, _SKIPPED if skip else _OPEN)
    return to_proto(row, time)


def _check_free_for(
    row: ProposalRow, claimant: str, time: datetime, settled: Collection[int]
) -> None:
    state = state_at(row, time)
    if state in settled:
        how = f"answered by {row.annotation}" if state == _DONE else "passed over"
        raise FailedPreconditionError(
            f'The proposal "{row.name}" was {how} already; claim another one.', name=row.name
        )
    if state == _CLAIMED and row.claimant != claimant:
        raise FailedPreconditionError(
            f'The proposal "{row.name}" is claimed by {row.claimant} until {row.lease_until}; '
            "claim another one.",
            name=row.name,
        )


def _settle(row: ProposalRow, state: int, claimant: str = "", annotation: str = "") -> None:
    row.state, row.claimant, row.annotation = state, claimant, annotation
    row.lease_until = None


async def answer(
    session: AsyncSession, name: str, *, dataset: str, box: Box, claimant: str, annotation: str
) -> ProposalRow:
    """Marks a proposal as answered, in the transaction of the commit that answers it.

    Args:
        session: The transaction.
        name: The proposal.
        dataset: The data set committed to.
        box: The voxels of the commit.
        claimant: Who holds the claim, as far as the committer says.
        annotation: Name of the commit.

    Raises:
        InvalidArgumentError: The proposal is one of another data set or place.
        NotFoundError: There is no such proposal.
        FailedPreconditionError: Somebody else holds it, or it is settled.
    """
    row = await require_proposal(session, name, lock=True)
    if row.dataset != dataset or row.box.intersection(box) is None:
        raise InvalidArgumentError(
            f'The annotation over {box} of "{dataset}" does not touch the proposal "{name}", which '
            f'lies at {row.box} of "{row.dataset}".',
            field="annotation.proposal",
        )
    check_text(claimant, "claimant")
    _check_free_for(row, claimant, now(), settled=(_DONE, _SKIPPED))
    _settle(row, _DONE, claimant, annotation)
    return row


async def reopen(session: AsyncSession, name: str, annotation: str) -> None:
    """Frees a proposal whose answer was undone, if its round still takes answers."""
    held = await _in_annotating_round(session, name)
    if held is not None and held.state == _DONE and held.annotation == annotation:
        _settle(held, _OPEN)


async def answer_again(session: AsyncSession, name: str, annotation: str) -> ProposalRow | None:
    """Marks a proposal whose answer came back as answered, if it is free and its round open.

    Returns:
        The proposal if it was marked.
    """
    held = await _in_annotating_round(session, name)
    if held is None or state_at(held, now()) != _OPEN:
        return None
    _settle(held, _DONE, annotation=annotation)
    return held


async def _in_annotating_round(session: AsyncSession, name: str) -> ProposalRow | None:
    key = await require_proposal(session, name)
    # The round first and then the proposal: whoever moves rounds holds the round.
    current = await session.get(RoundRow, (key.campaign, key.round_index), with_for_update=True)
    if current is None or current.state != pb.ROUND_STATE_ANNOTATING:
        return None
    return await require_proposal(session, name, lock=True)


def to_proto(row: ProposalRow, time: datetime) -> pb.Proposal:
    """The message of a row, with a claim that has lapsed at ``time`` as none."""
    state = state_at(row, time)
    held = state == _CLAIMED
    return pb.Proposal(
        name=row.name,
        round=f"{row.campaign}/rounds/{row.round_index}",
        dataset=row.dataset,
        box=row.box.to_proto(),
        # Without a look at the patch it is the order of a draw, and reads like an uncertainty.
        score=row.score if row.statistics else None,
        statistics=row.statistics,
        state=pb.ProposalState.ValueType(state),
        claimant=row.claimant if held or state == _DONE else "",
        lease_until=timestamp(row.lease_until) if held and row.lease_until else None,
        annotation=row.annotation,
    )
