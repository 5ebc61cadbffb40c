import asyncio
from typing import Any

import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct

from biosegment.client.errors import (
    AbortedError,
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    OutsideVolumeError,
)
from biosegment.client.geometry import Box, shape_proto
from biosegment.v1 import campaigns_pb2 as pb
from biosegment.v1 import events_pb2, jobs_pb2
from tests.registry.record_kit import CAMPAIGN, DATASET, MODEL, PROJECT, Record

RANKING, ANNOTATING, TRAINING, EVALUATING, DONE = range(1, 6)
PATCH = np.ones((1, 8, 8), np.uint8)


async def _set(record: Record, state: int, reason: str = "") -> pb.Campaign:
    request = pb.SetCampaignStateRequest(
        name=CAMPAIGN,
        state=state,  # type: ignore[arg-type]
        reason=reason,
    )
    return (await record.stubs.campaigns.SetCampaignState(request)).campaign


async def _annotating(record: Record, count: int = 4) -> None:
    await record.start_campaign()
    await record.open_round()
    await record.propose(count=count)


async def test_a_campaign_is_kept_whole(record: Record) -> None:
    parameters = Struct()
    parameters["beta"] = 0.5
    made = await record.start_campaign(
        strategy=pb.Strategy(name="entropy", parameters=parameters),
        round_training=jobs_pb2.TrainingSettings(steps=10, dice_weight=0.0),
        region=Box((0, 0, 0), (2, 16, 16)).to_proto(),
        evaluation=pb.EvaluationPlan(reference_volume=f"{PROJECT}/volumes/gt"),
        automatic=True,
        seed=7,
        state=pb.CAMPAIGN_STATE_FAILED,
        state_reason="taken from nobody",
    )
    got = await record.stubs.campaigns.GetCampaign(pb.GetCampaignRequest(name=CAMPAIGN))
    # What it waits for is worked out when one looks.
    assert got.campaign.HasField("waiting")
    got.campaign.ClearField("waiting")
    assert got.campaign == made
    assert made.state == pb.CAMPAIGN_STATE_ACTIVE
    assert made.state_reason == ""
    assert made.strategy.parameters["beta"] == 0.5
    assert made.round_training.HasField("dice_weight")
    with pytest.raises(AlreadyExistsError, match="campaign"):
        await record.start_campaign()


@pytest.mark.parametrize(
    ("fields", "error", "sentence"),
    [
        ({"name": "campaigns/c"}, InvalidArgumentError, "is not the full name"),
        ({"dataset": f"{PROJECT}/datasets/x"}, NotFoundError, "no data set"),
        ({"model": f"{PROJECT}/models/x"}, NotFoundError, "no model"),
        ({"base_version": f"{MODEL}/versions/1"}, NotFoundError, "no model version"),
        ({"base_version": f"{MODEL}/versions/latest"}, InvalidArgumentError, "number"),
        ({"strategy": pb.Strategy()}, InvalidArgumentError, "docs/strategies.md"),
        ({"initial_patches": 0}, InvalidArgumentError, "initial_patches is 0"),
        ({"budget_patches": -1}, InvalidArgumentError, "budget_patches is -1"),
        ({"patch": shape_proto((0, 8, 8))}, InvalidArgumentError, "holds none"),
        ({"patch": shape_proto((1, 64, 8))}, OutsideVolumeError, "leaves the data set"),
        ({"region": Box((0, 0, 0), (9, 9, 9)).to_proto()}, OutsideVolumeError, "leaves"),
        ({"region": Box((0, 0, 0), (1, 1, 1), 1).to_proto()}, InvalidArgumentError, "level 0"),
        ({"evaluation": pb.EvaluationPlan()}, InvalidArgumentError, "is not the full name"),
    ],
)
async def test_plans_that_cannot_work_are_refused(
    record: Record, fields: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        await record.start_campaign(**fields)


async def test_campaigns_are_listed_by_state(record: Record) -> None:
    for name in ("a", "b", "c"):
        await record.start_campaign(name=f"{PROJECT}/campaigns/{name}")
    await _set(record, pb.CAMPAIGN_STATE_PAUSED)
    listing = record.stubs.campaigns.ListCampaigns
    active = pb.ListCampaignsRequest(parent="projects/-", states=[pb.CAMPAIGN_STATE_ACTIVE])
    assert [c.name[-1] for c in (await listing(active)).campaigns] == ["a", "b"]
    request = pb.ListCampaignsRequest(parent=PROJECT, page_size=2)
    first = await listing(request)
    request.page_token = first.next_page_token
    second = await listing(request)
    assert [c.name[-1] for c in (*first.campaigns, *second.campaigns)] == ["a", "b", "c"]


async def test_states_of_a_campaign(record: Record) -> None:
    await record.start_campaign()
    paused = await _set(record, pb.CAMPAIGN_STATE_PAUSED, "lunch")
    assert (paused.state, paused.state_reason) == (pb.CAMPAIGN_STATE_PAUSED, "lunch")
    assert await _set(record, pb.CAMPAIGN_STATE_PAUSED, "again") == paused
    with pytest.raises(FailedPreconditionError, match="is PAUSED; it must be ACTIVE"):
        await record.open_round()
    await _set(record, pb.CAMPAIGN_STATE_FAILED, "a job failed")
    with pytest.raises(FailedPreconditionError, match="is FAILED and cannot become PAUSED"):
        await _set(record, pb.CAMPAIGN_STATE_PAUSED)
    await _set(record, pb.CAMPAIGN_STATE_ACTIVE)
    await _set(record, pb.CAMPAIGN_STATE_FINISHED)
    with pytest.raises(FailedPreconditionError, match="start a new one"):
        await _set(record, pb.CAMPAIGN_STATE_ACTIVE)
    with pytest.raises(InvalidArgumentError, match="state wanted"):
        await _set(record, pb.CAMPAIGN_STATE_UNSPECIFIED)
    events = await record.events("campaign.changed")
    assert events == [events_pb2.CampaignChanged(campaign=CAMPAIGN).SerializeToString()] * 4


async def test_only_one_opens_the_next_round(record: Record) -> None:
    await record.start_campaign()
    with pytest.raises(AbortedError, match="it has none"):
        await record.open_round(2)
    answers = await asyncio.gather(
        *(record.open_round(1) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(answer, AbortedError) for answer in answers) == 4
    with pytest.raises(AbortedError, match="its newest is 1, RANKING"):
        await record.open_round(2)
    await record.move(1, RANKING, DONE)
    assert (await record.open_round(2)).name == f"{CAMPAIGN}/rounds/2"
    await record.move(2, RANKING, DONE)
    with pytest.raises(NotFoundError, match="no model version"):
        await record.open_round(3, f"{MODEL}/versions/4")


async def test_a_round_goes_through_its_states(record: Record) -> None:
    version = await record.train()
    await record.start_campaign()
    made = await record.open_round(1, version)
    assert (made.state, made.base_version) == (RANKING, version)
    same = await record.move(1, RANKING, RANKING, rank_job=f"{PROJECT}/jobs/r")
    assert (same.rank_job, dict(same.seconds)) == (f"{PROJECT}/jobs/r", {})
    await record.propose()
    with pytest.raises(AbortedError, match="is ANNOTATING and no longer RANKING"):
        await record.move(1, RANKING, ANNOTATING)
    with pytest.raises(FailedPreconditionError, match="cannot become EVALUATING"):
        await record.move(1, ANNOTATING, EVALUATING)
    await record.commit(PATCH)
    moved = await record.move(1, ANNOTATING, TRAINING, revision=1, train_job=f"{PROJECT}/jobs/t")
    assert (moved.revision, moved.rank_job) == (1, f"{PROJECT}/jobs/r")
    await record.move(1, TRAINING, EVALUATING, version=version)
    done = await record.move(1, EVALUATING, DONE, metrics={"iou": 0.7, "iou_2": float("nan")})
    assert set(done.seconds) == {"ranking", "annotating", "training", "evaluating"}
    assert all(seconds >= 0 for seconds in done.seconds.values())
    assert dict(done.metrics) == {"iou": 0.7}
    assert done.version == version
    got = await record.stubs.campaigns.GetRound(pb.GetRoundRequest(name=made.name))
    assert got.round == done


async def test_the_next_round_is_opened_while_the_last_version_is_measured(record: Record) -> None:
    version = await record.train()
    await record.start_campaign()
    await record.open_round()
    await record.propose()
    await record.move(1, ANNOTATING, TRAINING)
    with pytest.raises(AbortedError, match="its newest is 1, TRAINING"):
        await record.open_round(2, version)
    await record.move(1, TRAINING, EVALUATING, version=version)
    await record.open_round(2, version)
    await record.propose(2)
    # Only the newest round is lent.
    (lent,) = await record.claim("ana")
    assert lent.round.endswith("/2")
    await record.apply(
        "evaluate",
        jobs_pb2.EvaluateResult(metrics={"iou": 0.5}),
        evaluate_spec=jobs_pb2.EvaluateSpec(
            version=version,
            dataset=DATASET,
            reference_volume=f"{PROJECT}/volumes/truth",
            round=f"{CAMPAIGN}/rounds/1",
        ),
    )
    got = await record.stubs.campaigns.GetRound(pb.GetRoundRequest(name=f"{CAMPAIGN}/rounds/1"))
    assert (got.round.state, dict(got.round.metrics)) == (DONE, {"iou": 0.5})
    assert got.round.evaluate_job.endswith("/evaluate")
    assert "evaluating" in got.round.seconds


@pytest.mark.parametrize(
    ("fields", "error", "sentence"),
    [
        ({"revision": 5}, InvalidArgumentError, "Revision 5"),
        ({"revision": -5}, InvalidArgumentError, "Revision -5"),
        ({"train_job": "job"}, InvalidArgumentError, "is not the full name"),
        ({"version": f"{MODEL}/versions/9"}, NotFoundError, "no model version"),
    ],
)
async def test_what_a_round_records_must_exist(
    record: Record, fields: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    await record.start_campaign()
    await record.open_round()
    with pytest.raises(error, match=sentence):
        await record.move(1, RANKING, DONE, **fields)
    with pytest.raises(InvalidArgumentError, match="expected_state"):
        await record.move(1, RANKING, 0)
    with pytest.raises(NotFoundError, match="no round"):
        await record.move(2, RANKING, DONE)


async def test_claims_give_nobody_the_same_patch(record: Record) -> None:
    await _annotating(record)
    lent = await asyncio.gather(*(record.claim(f"person-{i}") for i in range(6)))
    names = [proposal.name for proposals in lent for proposal in proposals]
    assert len(names) == len(set(names)) == 4
    assert sorted(len(proposals) for proposals in lent) == [0, 0, 1, 1, 1, 1]
    assert not await record.proposals(pb.PROPOSAL_STATE_OPEN)


async def test_ones_own_claims_come_first_and_are_renewed(record: Record) -> None:
    await _annotating(record)
    (first,) = await record.claim("ana")
    assert first.score == 4.0
    assert (first.state, first.claimant) == (pb.PROPOSAL_STATE_CLAIMED, "ana")
    (other,) = await record.claim("ben")
    assert other.name != first.name
    again = await record.claim("ana", 2)
    assert [p.name for p in again] == [first.name, f"{CAMPAIGN}/proposals/3"]
    assert again[0].lease_until.ToDatetime() > first.lease_until.ToDatetime()
    more = await record.claim("ana", 100)
    assert [p.name[-1] for p in more] == ["1", "3", "4"]


async def test_a_lapsed_claim_is_none(record: Record) -> None:
    await _annotating(record)
    (first,) = await record.claim("ana")
    await record.lapse_claims()
    free = await record.proposals(pb.PROPOSAL_STATE_OPEN)
    assert len(free) == 4
    assert (free[0].state, free[0].claimant) == (pb.PROPOSAL_STATE_OPEN, "")
    assert not await record.proposals(pb.PROPOSAL_STATE_CLAIMED)
    (taken,) = await record.claim("ben")
    assert taken.name == first.name
    with pytest.raises(FailedPreconditionError, match="claimed by ben"):
        await record.commit(PATCH, proposal=first.name, claimant="ana")
    with pytest.raises(FailedPreconditionError, match="claimed by ben"):
        await record.commit(PATCH, proposal=first.name)


async def test_nothing_is_lent_where_nobody_annotates(record: Record) -> None:
    await record.start_campaign()
    assert await record.claim("ana") == []
    await record.open_round()
    assert await record.claim("ana") == []
    await record.propose()
    await _set(record, pb.CAMPAIGN_STATE_PAUSED)
    assert await record.claim("ana") == []
    await _set(record, pb.CAMPAIGN_STATE_ACTIVE)
    await record.move(1, ANNOTATING, TRAINING)
    assert await record.claim("ana") == []


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"claimant": ""}, "claimant is empty"),
        ({"claimant": "a" * 201}, "at most 200"),
        ({"count": -1}, "count"),
        ({"lease": Duration()}, "longer than 0"),
        ({"lease": Duration(seconds=10**6)}, "lease is"),
    ],
)
async def test_bad_claims_are_refused(
    record: Record, fields: dict[str, Any], sentence: str
) -> None:
    await _annotating(record)
    request = pb.ClaimProposalsRequest(parent=CAMPAIGN, **{"claimant": "ana", **fields})
    with pytest.raises(InvalidArgumentError, match=sentence):
        await record.stubs.campaigns.ClaimProposals(request)


async def test_proposals_are_given_back_or_passed_over(record: Record) -> None:
    await _annotating(record)
    (first,) = await record.claim("ana")
    returning = record.stubs.campaigns.ReturnProposal

    async def give(claimant: str, *, skip: bool = False) -> pb.Proposal:
        request = pb.ReturnProposalRequest(name=first.name, claimant=claimant, skip=skip)
        return (await returning(request)).proposal

    with pytest.raises(FailedPreconditionError, match="claimed by ana"):
        await give("ben", skip=True)
    assert (await give("ana")).state == pb.PROPOSAL_STATE_OPEN
    assert (await give("ana")).state == pb.PROPOSAL_STATE_OPEN
    await record.claim("ana")
    assert (await give("ana", skip=True)).state == pb.PROPOSAL_STATE_SKIPPED
    assert (await give("ana", skip=True)).state == pb.PROPOSAL_STATE_SKIPPED
    with pytest.raises(FailedPreconditionError, match="passed over already"):
        await give("ana")
    with pytest.raises(FailedPreconditionError, match="passed over already"):
        await record.commit(PATCH, proposal=first.name, claimant="ana")
    (following,) = await record.claim("ana")
    assert following.name == f"{CAMPAIGN}/proposals/2"


async def test_a_commit_answers_its_proposal(record: Record) -> None:
    await _annotating(record)
    (first,) = await record.claim("ana")
    made = await record.commit(PATCH, proposal=first.name, claimant="ana")
    (done,) = await record.proposals(pb.PROPOSAL_STATE_DONE)
    assert (done.name, done.annotation, done.claimant) == (first.name, made.name, "ana")
    event = events_pb2.AnnotationCommitted.FromString(
        (await record.events("annotation.committed"))[0]
    )
    assert (event.proposal, event.campaign) == (first.name, CAMPAIGN)
    with pytest.raises(FailedPreconditionError, match=f"answered by {made.name}"):
        await record.commit(PATCH, proposal=first.name, claimant="ana")
    with pytest.raises(FailedPreconditionError, match="answered by"):
        await record.stubs.campaigns.ReturnProposal(
            pb.ReturnProposalRequest(name=first.name, claimant="ana")
        )
    assert (await record.dataset()).revision == 1


async def test_a_commit_must_touch_its_proposal(record: Record) -> None:
    await _annotating(record)
    with pytest.raises(InvalidArgumentError, match="does not touch the proposal"):
        await record.commit(PATCH, (3, 0, 0), proposal=f"{CAMPAIGN}/proposals/1")
    with pytest.raises(NotFoundError, match="no proposal"):
        await record.commit(PATCH, proposal=f"{CAMPAIGN}/proposals/99")
    assert len(await record.proposals(pb.PROPOSAL_STATE_OPEN)) == 4


async def test_of_two_answers_at_once_one_is_refused(record: Record) -> None:
    await _annotating(record)
    name = f"{CAMPAIGN}/proposals/1"
    calls = [record.commit(PATCH, proposal=name) for _ in range(4)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(answer, FailedPreconditionError) for answer in answers) == 3
    assert (await record.dataset()).revision == 1


async def test_labelled_patches_add_up_over_rounds(record: Record) -> None:
    await _annotating(record, 2)
    for number in (1, 2):
        name = f"{CAMPAIGN}/proposals/{number}"
        await record.commit(PATCH, (0, 0, 8 * (number - 1)), proposal=name)
    await record.move(1, ANNOTATING, DONE)
    await record.open_round(2)
    await record.propose(2, 3)
    await record.commit(PATCH, (1, 0, 0), proposal=f"{CAMPAIGN}/proposals/3")
    request = pb.ListRoundsRequest(parent=CAMPAIGN, page_size=1)
    first = await record.stubs.campaigns.ListRounds(request)
    request.page_token = first.next_page_token
    second = await record.stubs.campaigns.ListRounds(request)
    assert [r.labelled_patches for r in (*first.rounds, *second.rounds)] == [2, 3]
    assert not second.next_page_token
    listing = pb.ListProposalsRequest(parent=CAMPAIGN, round_index=2)
    found = (await record.stubs.campaigns.ListProposals(listing)).proposals
    assert [p.name[-1] for p in found] == ["3", "4", "5"]
    assert [p.score for p in found] == [3.0, 2.0, 1.0]
    assert found[1].statistics["entropy"] == pytest.approx(0.1)


async def test_what_labelling_took_is_told_by_round(record: Record) -> None:
    await _annotating(record, 2)
    spent = {"time_spent": Duration(seconds=2, nanos=500_000_000), "strokes": 3}
    await record.commit(PATCH, proposal=f"{CAMPAIGN}/proposals/1", **spent)
    half = PATCH.copy()
    half[0, 4:] = 255
    await record.commit(half, (0, 0, 8), proposal=f"{CAMPAIGN}/proposals/2", strokes=1)
    # What answers no proposal is no cost of the campaign.
    await record.commit(PATCH, (2, 0, 0), strokes=50)
    await record.move(1, ANNOTATING, DONE)
    await record.open_round(2)
    await record.propose(2, 2)
    await record.commit(PATCH, (1, 0, 0), proposal=f"{CAMPAIGN}/proposals/3", **spent)
    request = pb.ListRoundsRequest(parent=CAMPAIGN)
    first, second = (await record.stubs.campaigns.ListRounds(request)).rounds
    assert first.cost == pb.Cost(patches=2, labelled_voxels=96, strokes=4, seconds=2.5)
    assert second.cost == pb.Cost(patches=1, labelled_voxels=64, strokes=3, seconds=2.5)
    assert (first.labelled_patches, second.labelled_patches) == (2, 3)
    await record.undo(4)
    (_, second) = (await record.stubs.campaigns.ListRounds(request)).rounds
    assert second.cost == pb.Cost()


async def test_an_undone_answer_frees_its_proposal(record: Record) -> None:
    await _annotating(record)
    name = f"{CAMPAIGN}/proposals/1"
    await record.commit(PATCH, proposal=name)
    await record.undo(1)
    (first, *_) = await record.proposals(pb.PROPOSAL_STATE_OPEN)
    assert (first.name, first.annotation) == (name, "")
    await record.undo(2)
    (done,) = await record.proposals(pb.PROPOSAL_STATE_DONE)
    assert (done.name, done.annotation) == (name, f"{DATASET}/annotations/1")
    events = [
        events_pb2.AnnotationCommitted.FromString(event).proposal
        for event in await record.events("annotation.committed")
    ]
    assert events == [name, "", name]


async def test_an_undone_answer_of_a_closed_round_stays(record: Record) -> None:
    await _annotating(record)
    await record.commit(PATCH, proposal=f"{CAMPAIGN}/proposals/1")
    await record.move(1, ANNOTATING, TRAINING)
    await record.undo(1)
    (done,) = await record.proposals(pb.PROPOSAL_STATE_DONE)
    assert done.name == f"{CAMPAIGN}/proposals/1"


async def test_an_answer_that_comes_back_disturbs_nobody(record: Record) -> None:
    await _annotating(record)
    name = f"{CAMPAIGN}/proposals/1"
    await record.commit(PATCH, proposal=name)
    await record.undo(1)
    (claimed,) = await record.claim("ben")
    assert claimed.name == name
    await record.undo(2)
    (held,) = await record.proposals(pb.PROPOSAL_STATE_CLAIMED)
    assert held.claimant == "ben"
    made = await record.commit(PATCH * 2, proposal=name, claimant="ben")
    await record.undo(3)
    (done,) = await record.proposals(pb.PROPOSAL_STATE_DONE)
    assert done.annotation == made.name
