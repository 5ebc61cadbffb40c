"""What a campaign says it waits for, in each of its states."""

import pytest

from biosegment.client.geometry import Box
from biosegment.v1 import campaigns_pb2 as pb
from biosegment.v1 import jobs_pb2
from tests.acquisition.acquisition_kit import CAMPAIGN, SHAPE, Kit
from tests.acquisition.test_campaign_driver import EVALUATE, TRAIN, one_round

CLI = "biosegment --project p "


async def waiting(kit: Kit) -> pb.Waiting:
    return (await kit.campaign()).waiting


async def nothing_to_claim(kit: Kit, claimant: str = "bea") -> pb.Waiting:
    """What somebody is told who asks for patches where there are none."""
    request = pb.ClaimProposalsRequest(parent=CAMPAIGN, claimant=claimant, count=100)
    answer = await kit.stubs.campaigns.ClaimProposals(request)
    assert not answer.proposals
    return answer.waiting


async def report(kit: Kit, job: str, **progress: object) -> None:
    """A worker takes a job and tells how far it is."""
    claim = await kit.claim(job)
    told = jobs_pb2.Progress(**progress)  # type: ignore[arg-type]
    told.eta.FromSeconds(420)
    request = jobs_pb2.HeartbeatJobRequest(job=job, attempt=claim.job.attempt, progress=told)
    await kit.stubs.workers.HeartbeatJob(request)


async def to_training(kit: Kit) -> jobs_pb2.Job:
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    return (await kit.jobs(TRAIN))[0]


async def test_a_campaign_that_just_began_says_how_long_things_take(kit):
    bounded = jobs_pb2.TrainingSettings(max_seconds=600)
    await kit.start(pretraining=bounded, round_training=jobs_pb2.TrainingSettings(max_seconds=300))
    told = await waiting(kit)
    assert "The first patches are being drawn" in told.message
    assert "raw voxels, for at most 10 min" in told.message
    assert "at most 5 min" in told.message
    assert told.advice == f"Take them with: {CLI}campaign claim c"


async def test_one_that_nobody_advanced_says_so_and_what_to_type(kit):
    await kit.start(automatic=False)
    told = await nothing_to_claim(kit)
    assert "Round 1 waits for a person to open it" in told.message
    assert told.advice == f"Open it with: {CLI}campaign advance c"
    assert told == await waiting(kit)


async def test_ranking(kit):
    await kit.start()
    await kit.conductor.advance(CAMPAIGN)
    job = (await kit.round()).rank_job
    assert "waits for a worker that is free" in (await waiting(kit)).message
    await report(kit, job, done=300, total=2000, stage="scoring")
    told = await nothing_to_claim(kit)
    assert "ranking of candidates for round 1: scoring, 300 of 2000" in told.message
    assert (told.job, told.left.seconds) == (job, 420)


async def test_a_look_at_the_region_before_the_ranking(kit):
    await kit.start(
        candidates=pb.CANDIDATE_SOURCE_UNCERTAINTY_VOLUME,
        refresh_rounds=1,
        region=Box.of_shape(SHAPE).to_proto(),
        evaluation=None,
    )
    await one_round(kit)
    told = await waiting(kit)
    assert "segmentation of the region for its uncertainty" in told.message
    assert told.job == (await kit.jobs(jobs_pb2.JOB_KIND_SEGMENT))[0].name


async def test_annotating_beside_the_start(kit):
    await kit.start(initial_patches=6, pretraining=jobs_pb2.TrainingSettings(max_seconds=600))
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    (start,) = await kit.jobs(TRAIN)
    await report(kit, start.name, done=40, total=900, stage="training")
    await kit.answer(1)
    told = await waiting(kit)
    assert "1 of 3 patches of round 1 are answered." in told.message
    assert "learns from the raw voxels: training, 40 of 900" in told.message
    assert "It ends when these patches are answered" in told.message
    assert f"{CLI}campaign claim c" in told.advice
    assert f"{CLI}campaign advance c --close-round" in told.advice
    assert told.left.seconds == 420
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    told = await nothing_to_claim(kit)
    assert "All patches of round 1 are answered." in told.message
    assert "ends within seconds with what it has" in told.message


async def test_a_first_look_that_waits_for_the_start(kit):
    await kit.start(
        first_strategy=pb.Strategy(name="typicality"),
        pretraining=jobs_pb2.TrainingSettings(steps=5),
    )
    await kit.conductor.advance(CAMPAIGN)
    told = await nothing_to_claim(kit)
    assert "before it chooses the first patches" in told.message


async def test_all_patches_are_lent_to_others(kit):
    await kit.start()
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    request = pb.ClaimProposalsRequest(parent=CAMPAIGN, claimant="ann", count=2)
    await kit.stubs.campaigns.ClaimProposals(request)
    request.claimant, request.count = "cem", 1
    lent = (await kit.stubs.campaigns.ClaimProposals(request)).proposals
    told = await nothing_to_claim(kit)
    until = lent[0].lease_until.ToDatetime()
    assert "0 of 3 patches" in told.message
    assert "2 to ann until " in told.message
    assert f"1 to cem until {until:%H:%M} UTC" in told.message
    # Whoever has them gets them again.
    request.claimant, request.count = "ann", 5
    answer = await kit.stubs.campaigns.ClaimProposals(request)
    assert len(answer.proposals) == 2
    assert not answer.HasField("waiting")


async def test_training(kit):
    await kit.start()
    job = await to_training(kit)
    await report(kit, job.name, done=120, total=500, stage="training")
    told = await nothing_to_claim(kit)
    name = job.name.rpartition("/")[2]
    assert told.message == (
        f"The training on the answers of round 1: training, 120 of 500 ({name})."
    )
    assert (told.left.seconds, told.advice) == (420, f"Watch it with: {CLI}job watch {name}")


async def test_a_job_that_a_person_paused(kit):
    await kit.start()
    job = await to_training(kit)
    await kit.stubs.jobs.PauseJob(jobs_pb2.PauseJobRequest(name=job.name))
    told = await waiting(kit)
    assert "a person has paused it" in told.message
    assert told.advice == f"Let it go on with: {CLI}job resume {job.name.rpartition('/')[2]}"


async def test_a_try_that_failed(kit):
    await kit.start()
    job = await to_training(kit)
    claim = await kit.claim(job.name)
    await kit.stubs.workers.FailJob(
        jobs_pb2.FailJobRequest(
            job=job.name,
            attempt=claim.job.attempt,
            error=jobs_pb2.JobError(message="The store was away."),
            kind=jobs_pb2.FAILURE_KIND_RETRYABLE,
        )
    )
    assert "about to be repeated" in (await waiting(kit)).message
    assert "The store was away." in (await waiting(kit)).message


async def test_evaluating_before_the_next_round(kit):
    await kit.start(stopping=pb.StoppingRule(patience=1))
    await one_round(kit)
    await kit.conductor.advance(CAMPAIGN)
    told = await nothing_to_claim(kit)
    assert "The measuring of the new version" in told.message
    assert told.job == (await kit.jobs(EVALUATE))[0].name


async def test_the_next_round_of_one_that_is_not_automatic(kit):
    await kit.start(automatic=False, evaluation=None)
    await kit.advance()
    await kit.rank()
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    await kit.train()
    await kit.conductor.advance(CAMPAIGN)
    told = await nothing_to_claim(kit)
    assert "Round 2 waits for a person to open it" in told.message
    assert told.advice == f"Open it with: {CLI}campaign advance c"


@pytest.mark.parametrize(
    ("state", "says", "advice"),
    [
        (pb.CAMPAIGN_STATE_PAUSED, "is paused", f"Let it go on with: {CLI}campaign resume c"),
        (pb.CAMPAIGN_STATE_FINISHED, "is finished", f"Its versions: {CLI}model versions m"),
        (pb.CAMPAIGN_STATE_FAILED, "mend what failed", f"{CLI}campaign resume c"),
    ],
)
async def test_one_that_is_held_says_why(kit, state, says, advice):
    await kit.start()
    await to_training(kit)
    await kit.stubs.campaigns.SetCampaignState(
        pb.SetCampaignStateRequest(name=CAMPAIGN, state=state, reason="The microscope is on fire.")
    )
    told = await nothing_to_claim(kit)
    assert says in told.message
    assert "The microscope is on fire." in told.message
    assert advice in told.advice
    if state == pb.CAMPAIGN_STATE_PAUSED:
        assert "ends by itself" in told.message
