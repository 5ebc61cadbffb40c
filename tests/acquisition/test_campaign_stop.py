"""Stopping and pausing a campaign mean it for its jobs."""

import pytest

from biosegment.client.errors import FailedPreconditionError
from biosegment.v1 import campaigns_pb2 as pb
from biosegment.v1 import jobs_pb2
from tests.acquisition.acquisition_kit import CAMPAIGN, Kit
from tests.acquisition.test_campaign_driver import EVALUATE, RANK, TRAIN, one_round

CANCELLED, CANCELLING = jobs_pb2.JOB_STATE_CANCELLED, jobs_pb2.JOB_STATE_CANCELLING


async def stop(kit: Kit, *, keep_jobs: bool = False) -> pb.SetCampaignStateResponse:
    request = pb.SetCampaignStateRequest(
        name=CAMPAIGN, state=pb.CAMPAIGN_STATE_FINISHED, keep_jobs=keep_jobs
    )
    return await kit.stubs.campaigns.SetCampaignState(request)


async def to_training(kit: Kit) -> None:
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)


async def test_a_stopped_campaign_stops_its_training(kit):
    await kit.start()
    await to_training(kit)
    (job,) = await kit.jobs(TRAIN)
    await kit.claim(job.name)
    assert list((await stop(kit)).cancelled_jobs) == [job.name]
    (job,) = await kit.jobs(TRAIN)
    assert job.state == CANCELLING
    # What was said once is not said again.
    assert list((await stop(kit)).cancelled_jobs) == []


async def test_a_stopped_campaign_stops_its_ranking_and_its_start(kit):
    await kit.start(initial_patches=4, pretraining=jobs_pb2.TrainingSettings(steps=5))
    await kit.conductor.advance(CAMPAIGN)
    assert len((await stop(kit)).cancelled_jobs) == 2
    assert (await kit.jobs(RANK))[0].state == CANCELLED
    assert (await kit.jobs(TRAIN))[0].state == CANCELLED
    assert (await kit.campaign()).state == pb.CAMPAIGN_STATE_FINISHED


async def test_a_stopped_campaign_stops_its_measuring(kit):
    await kit.start()
    await one_round(kit)
    await kit.rank()
    await kit.conductor.advance(CAMPAIGN)
    assert list((await stop(kit)).cancelled_jobs) == [(await kit.jobs(EVALUATE))[0].name]


async def test_jobs_of_others_go_on(kit):
    spec = jobs_pb2.TrainSpec(model="projects/p/models/m", dataset="projects/p/datasets/d")
    mine = await kit.create_job(train_spec=spec)
    await kit.start()
    await kit.conductor.advance(CAMPAIGN)
    await stop(kit)
    request = jobs_pb2.GetJobRequest(name=mine.name)
    assert (await kit.stubs.jobs.GetJob(request)).job.state == jobs_pb2.JOB_STATE_QUEUED


async def test_jobs_can_be_kept(kit):
    await kit.start()
    await to_training(kit)
    assert list((await stop(kit, keep_jobs=True)).cancelled_jobs) == []
    assert (await kit.jobs(TRAIN))[0].state == jobs_pb2.JOB_STATE_QUEUED


async def test_a_campaign_that_ends_by_itself_cancels_nothing(kit):
    await kit.start(budget_patches=3)
    await to_training(kit)
    await kit.train()
    await kit.conductor.advance(CAMPAIGN)
    await kit.conductor.advance(CAMPAIGN)
    assert len(await kit.jobs(EVALUATE)) == 1
    await kit.evaluate(0.5)
    await kit.conductor.advance(CAMPAIGN)
    assert (await kit.campaign()).state == pb.CAMPAIGN_STATE_FINISHED
    assert (await kit.jobs(EVALUATE))[0].state == jobs_pb2.JOB_STATE_SUCCEEDED


@pytest.mark.parametrize("state", [pb.CAMPAIGN_STATE_PAUSED, pb.CAMPAIGN_STATE_FINISHED])
async def test_no_job_is_started_for_a_campaign_that_is_held(kit, state):
    await kit.start()
    await kit.conductor.advance(CAMPAIGN)
    current = await kit.round()
    await kit.set_state(state)
    # As by a driver that looked a moment before.
    with pytest.raises(FailedPreconditionError, match="campaign resume c"):
        await kit.create_job(rank_spec=jobs_pb2.RankSpec(round=current.name))


async def test_a_paused_campaign_lets_its_training_end(kit):
    await kit.start()
    await to_training(kit)
    await kit.set_state(pb.CAMPAIGN_STATE_PAUSED)
    await kit.train()
    assert (await kit.jobs(TRAIN))[0].state == jobs_pb2.JOB_STATE_SUCCEEDED
    await kit.conductor.advance(CAMPAIGN)
    assert (await kit.round()).state == pb.ROUND_STATE_TRAINING
    await kit.set_state(pb.CAMPAIGN_STATE_ACTIVE)
    await kit.conductor.advance(CAMPAIGN)
    assert (await kit.rounds())[0].version
