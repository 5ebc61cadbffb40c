"""A campaign whose start on raw voxels, or what else it can do without, is cancelled or fails."""

import pytest

from biosegment.client.geometry import Box, shape_proto
from biosegment.v1 import campaigns_pb2 as pb
from biosegment.v1 import jobs_pb2
from tests.acquisition.acquisition_kit import CAMPAIGN, SHAPE, Kit
from tests.acquisition.test_campaign_driver import EVALUATE, RANK, TRAIN, one_round

STEPS = jobs_pb2.TrainingSettings(steps=5)
SEGMENT = jobs_pb2.JOB_KIND_SEGMENT


async def cancel(kit: Kit, kind: int) -> jobs_pb2.Job:
    """Cancels the newest job of a kind, as a person would."""
    job = (await kit.jobs(kind))[0]
    return (await kit.stubs.jobs.CancelJob(jobs_pb2.CancelJobRequest(name=job.name))).job


async def test_a_cancelled_start_lets_the_campaign_go_on_with_fresh_weights(kit):
    await kit.start(initial_patches=4, pretraining=STEPS)
    await kit.conductor.advance(CAMPAIGN)
    cancelled = await cancel(kit, TRAIN)
    await kit.rank()
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    training = (await kit.jobs(TRAIN))[0]
    assert (await kit.campaign()).state == pb.CAMPAIGN_STATE_ACTIVE
    assert training.train_spec.base_version == ""
    (warning,) = training.warnings
    assert "fresh weights" in warning
    assert f"{cancelled.name.rpartition('/')[2]} was cancelled." in warning


async def test_a_start_that_fails_is_told_with_the_version_and_does_without(kit):
    await kit.start(initial_patches=4, pretraining=STEPS)
    await kit.conductor.advance(CAMPAIGN)
    await kit.fail((await kit.jobs(TRAIN))[0].name, "The GPU fell off.")
    await kit.rank()
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    (warning,) = (await kit.jobs(TRAIN))[0].warnings
    assert "The GPU fell off." in warning
    await kit.train()
    await kit.conductor.advance(CAMPAIGN)
    # The next round goes on from what the labels taught, and has nothing to be warned of.
    assert (await kit.rounds())[1].base_version.endswith("/versions/1")
    await kit.rank()
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    assert list((await kit.jobs(TRAIN))[0].warnings) == []


@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_a_first_round_that_wanted_to_look_is_random_without_the_start(kit, how):
    await kit.start(
        initial_patches=4, first_strategy=pb.Strategy(name="typicality"), pretraining=STEPS
    )
    await kit.conductor.advance(CAMPAIGN)
    if how == "cancelled":
        await cancel(kit, TRAIN)
    else:
        await kit.fail((await kit.jobs(TRAIN))[0].name, "Out of memory.")
    await kit.conductor.advance(CAMPAIGN)
    assert (await kit.round()).base_version == ""
    result = await kit.rank()
    assert (len(result.patches), set(result.patches[0].statistics)) == (4, set())


async def test_a_cancelled_measurement_leaves_its_round_without_figures(kit):
    await kit.start()
    await one_round(kit)
    await kit.rank()
    await kit.conductor.advance(CAMPAIGN)
    await cancel(kit, EVALUATE)
    await kit.conductor.advance(CAMPAIGN)
    assert (await kit.campaign()).state == pb.CAMPAIGN_STATE_ACTIVE
    first, second = await kit.rounds()
    assert (first.state, dict(first.metrics)) == (pb.ROUND_STATE_DONE, {})
    assert second.state == pb.ROUND_STATE_ANNOTATING


async def test_a_cancelled_look_at_the_region_is_done_without(kit):
    await kit.start(
        candidates=pb.CANDIDATE_SOURCE_UNCERTAINTY_VOLUME,
        refresh_rounds=1,
        region=Box.of_shape(SHAPE).to_proto(),
        evaluation=None,
    )
    await one_round(kit)
    await cancel(kit, SEGMENT)
    await kit.conductor.advance(CAMPAIGN)
    assert len(await kit.jobs(RANK)) == 2
    result = await kit.rank()
    assert "random" in result.source


async def test_a_cancelled_training_holds_the_campaign_and_says_what_to_type(kit):
    await kit.start()
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    job = await cancel(kit, TRAIN)
    await kit.conductor.advance(CAMPAIGN)
    campaign = await kit.campaign()
    assert campaign.state == pb.CAMPAIGN_STATE_FAILED
    name = job.name.rpartition("/")[2]
    assert f"biosegment --project p job retry {name} and then:" in campaign.state_reason
    assert "biosegment --project p campaign resume c" in campaign.state_reason
    # What it says can be done.
    await kit.stubs.jobs.RetryJob(jobs_pb2.RetryJobRequest(name=job.name))
    await kit.set_state(pb.CAMPAIGN_STATE_ACTIVE)
    await kit.train()
    await kit.conductor.advance(CAMPAIGN)
    assert (await kit.rounds())[0].version


async def test_a_start_that_is_bounded_ends_when_the_labels_are_in(kit):
    bounded = jobs_pb2.TrainingSettings(max_seconds=600, patch=shape_proto((1, 16, 16)))
    await kit.start(initial_patches=4, pretraining=bounded)
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    await kit.answer(1)
    await kit.conductor.advance(CAMPAIGN)
    assert not (await kit.jobs(TRAIN))[0].finishing
    await kit.answer()
    said = await kit.conductor.advance(CAMPAIGN)
    (job,) = await kit.jobs(TRAIN)
    assert job.finishing
    assert "learns from raw voxels" in said
    claim = await kit.claim(job.name)
    beat = jobs_pb2.HeartbeatJobRequest(job=job.name, attempt=claim.job.attempt)
    assert (await kit.stubs.workers.HeartbeatJob(beat)).finish_requested


async def test_a_start_of_so_many_steps_takes_them_all(kit):
    await kit.start(initial_patches=4, pretraining=STEPS)
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    assert not (await kit.jobs(TRAIN))[0].finishing


async def test_what_the_round_before_made_is_measured_on_answers_it_has_not_learnt_from(kit):
    await kit.start(evaluation=None)
    await one_round(kit)
    (first,) = await kit.jobs(TRAIN)
    # There was no version to measure.
    assert not first.train_spec.fresh
    await kit.rank()
    await kit.answer(1)
    await kit.skip()
    await kit.conductor.advance(CAMPAIGN)
    second = (await kit.jobs(TRAIN))[0]
    answered = [p for p in await kit.proposals(2) if p.state == pb.PROPOSAL_STATE_DONE]
    assert list(second.train_spec.fresh) == [answered[0].box]
    figures = {"fresh_iou": 0.25, "fresh_patches": 1.0, "fresh_voxels": 256.0, "loss": 0.5}
    result = jobs_pb2.TrainResult(weights="projects/p/objects/w", sha256="0" * 64, metrics=figures)
    await kit.end(second, train_result=result)
    await kit.conductor.advance(CAMPAIGN)
    one, two, *_ = await kit.rounds()
    assert dict(one.metrics) == {"fresh_iou": 0.25, "fresh_patches": 1.0, "fresh_voxels": 256.0}
    assert dict(two.metrics) == {}


async def test_a_version_that_has_seen_no_label_is_not_measured(kit):
    await kit.start(
        initial_patches=2,
        first_strategy=pb.Strategy(name="typicality"),
        pretraining=STEPS,
        evaluation=None,
    )
    await kit.conductor.advance(CAMPAIGN)
    await kit.train()
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    await kit.skip()
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    training = (await kit.jobs(TRAIN))[0]
    assert training.train_spec.base_version.endswith("/versions/1")
    assert not training.train_spec.fresh
