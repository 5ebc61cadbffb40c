"""A campaign's way through its rounds, over the real record."""

import asyncio

import pytest

from biosegment.acquisition.conductor import Conductor
from biosegment.acquisition.driver import Driver
from biosegment.client.errors import AbortedError, InternalError
from biosegment.client.geometry import Box
from biosegment.v1 import campaigns_pb2 as pb
from biosegment.v1 import jobs_pb2
from tests.acquisition.acquisition_kit import CAMPAIGN, TRAINING_HALF, Kit

RANK, TRAIN, EVALUATE = (
    jobs_pb2.JOB_KIND_RANK,
    jobs_pb2.JOB_KIND_TRAIN,
    jobs_pb2.JOB_KIND_EVALUATE,
)


async def one_round(kit: Kit) -> None:
    """Up to the new version; the next round waits for its ranking."""
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    await kit.train()
    await kit.conductor.advance(CAMPAIGN)


async def test_an_automatic_campaign_goes_on_until_the_budget_is_spent(kit):
    await kit.start()
    for number in range(3):
        await one_round(kit)
        if number:
            # The ranking of this round had its last version measured.
            await kit.evaluate(0.1 * number, number)
    assert (await kit.campaign()).state == pb.CAMPAIGN_STATE_ACTIVE
    await kit.evaluate(0.3)
    await kit.conductor.advance(CAMPAIGN)
    campaign = await kit.campaign()
    assert campaign.state == pb.CAMPAIGN_STATE_FINISHED
    assert "budget of 6" in campaign.state_reason
    rounds = (await kit.stubs.campaigns.ListRounds(pb.ListRoundsRequest(parent=CAMPAIGN))).rounds
    # 3 at first, then 2, then the one that is left.
    assert [r.labelled_patches for r in rounds] == [3, 5, 6]
    assert [round(r.metrics["iou"], 1) for r in rounds] == [0.1, 0.2, 0.3]
    assert [r.base_version for r in rounds] == ["", rounds[0].version, rounds[1].version]
    assert [r.revision for r in rounds] == [3, 5, 6]
    assert all(r.state == pb.ROUND_STATE_DONE for r in rounds)


async def test_the_first_training_starts_fresh_and_later_ones_fine_tune(kit):
    await kit.start()
    await one_round(kit)
    await one_round(kit)
    second, first = await kit.jobs(TRAIN)
    assert first.train_spec.base_version == ""
    assert first.train_spec.settings.learning_rate == pytest.approx(1e-3)
    assert second.train_spec.base_version == first.result.train_result.version
    assert second.train_spec.settings.learning_rate == pytest.approx(5e-4)
    assert first.train_spec.settings.seed != second.train_spec.settings.seed
    assert second.train_spec.revision == 5


async def test_people_label_random_patches_while_the_network_learns_from_raw_voxels(kit):
    await kit.start(
        automatic=False,
        initial_patches=5,
        budget_patches=9,
        pretraining=jobs_pb2.TrainingSettings(steps=5),
    )
    await kit.advance()
    (pretraining,) = await kit.jobs(TRAIN)
    result = await kit.rank()
    assert (len(result.patches), set(result.patches[0].statistics)) == (2, set())
    await kit.answer()
    assert "The model learns from raw voxels" in await kit.conductor.advance(CAMPAIGN)
    assert await kit.jobs(TRAIN) == [pretraining]
    await kit.train()
    await kit.conductor.advance(CAMPAIGN)
    training = (await kit.jobs(TRAIN))[0]
    assert training.train_spec.base_version.endswith("/versions/1")
    assert training.train_spec.settings.learning_rate == pytest.approx(1e-3)
    assert training.train_spec.settings.steps == 400  # 2 of 5 patches
    await kit.train()
    await kit.conductor.advance(CAMPAIGN)
    await kit.evaluate(0.5)
    # What the first half taught chooses the other one.
    assert "Round 2 waits for a person" in await kit.conductor.advance(CAMPAIGN)
    await kit.advance()
    result = await kit.rank()
    assert (len(result.patches), "entropy" in result.patches[0].statistics) == (3, True)
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    training = (await kit.jobs(TRAIN))[0]
    assert training.train_spec.base_version.endswith("/versions/2")
    # The labels are still as few as those of a first batch.
    assert training.train_spec.settings.learning_rate == pytest.approx(1e-3)
    assert training.train_spec.settings.steps == 1000
    await kit.train()
    await kit.conductor.advance(CAMPAIGN)
    await kit.evaluate(0.5)
    await kit.advance()
    assert len((await kit.rank()).patches) == 2
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    assert (await kit.jobs(TRAIN))[0].train_spec.settings.learning_rate == pytest.approx(5e-4)


async def test_an_answer_that_comes_while_a_step_looks_is_counted(kit, monkeypatch):
    await kit.start()
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    await kit.answer(2)
    stale = await kit.rounds()
    await kit.answer()

    async def before(*_: object) -> list[pb.Round]:
        return stale

    monkeypatch.setattr("biosegment.acquisition.record.rounds_of", before)
    await Driver(kit.stubs).step(await kit.campaign(), open_round=True)
    (training,) = await kit.jobs(TRAIN)
    assert training.train_spec.settings.steps == 1000


async def test_a_first_strategy_that_looks_waits_for_the_pretraining(kit):
    await kit.start(
        initial_patches=4,
        first_strategy=pb.Strategy(name="typicality"),
        pretraining=jobs_pb2.TrainingSettings(steps=5),
    )
    assert "The model learns from raw voxels" in await kit.conductor.advance(CAMPAIGN)
    assert await kit.rounds() == []
    await kit.train()
    await kit.conductor.advance(CAMPAIGN)
    assert (await kit.round()).base_version.endswith("/versions/1")
    assert len((await kit.rank()).patches) == 4


async def test_proposals_lie_in_the_region_and_never_overlap(kit):
    await kit.start()
    await one_round(kit)
    await one_round(kit)
    boxes = [Box.from_proto(proposal.box) for proposal in await kit.proposals()]
    assert len(boxes) == 5
    assert all(box.intersection(TRAINING_HALF) == box for box in boxes)
    assert all(a.intersection(b) is None for n, a in enumerate(boxes) for b in boxes[:n])


async def test_a_later_round_takes_what_the_model_is_least_sure_of(kit):
    await kit.start()
    await one_round(kit)
    await kit.conductor.advance(CAMPAIGN)
    result = await kit.rank()
    assert result.candidates == 40
    scores = [patch.score for patch in result.patches]
    assert scores == sorted(scores, reverse=True)
    # The kit's inference is the less sure the further right a patch lies.
    assert all(patch.statistics["entropy"] == patch.score for patch in result.patches)
    assert result.patches[0].box.x_start > 90


async def test_every_step_twice_makes_everything_once(kit):
    await kit.start()
    driver = Driver(kit.stubs)
    campaign = await kit.campaign()

    async def twice() -> None:
        # Two replicas of the service at the same moment.
        await asyncio.gather(
            *(driver.step(campaign, open_round=True) for _ in range(2)), return_exceptions=True
        )

    await twice()
    await twice()
    await kit.rank()
    await kit.answer()
    await twice()
    await kit.train()
    for _ in range(3):
        # The round moves on, the next one is opened, and its ranking started.
        await twice()
    await kit.rank()
    await twice()
    assert [len(await kit.jobs(kind)) for kind in (RANK, TRAIN, EVALUATE)] == [2, 1, 1]
    assert (await kit.round()).name.endswith("/2")


async def test_a_step_that_was_cut_off_before_it_was_recorded_is_taken_up(kit):
    await kit.start()
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    await kit.answer()
    driver = Driver(kit.stubs)
    current = await kit.round()
    spec = jobs_pb2.TrainSpec(round=current.name)
    job = await driver._start_training(await kit.campaign(), spec, 3, ())
    await kit.conductor.advance(CAMPAIGN)
    assert (await kit.round()).train_job == job.name
    assert len(await kit.jobs(TRAIN)) == 1


async def test_nothing_happens_while_proposals_are_open(kit):
    await kit.start()
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    await kit.answer(2)
    said = await kit.conductor.advance(CAMPAIGN)
    assert "1 of 3 proposals of round 1 wait" in said
    assert await kit.jobs(TRAIN) == []


async def test_a_round_can_be_closed_on_what_there_is(kit):
    await kit.start()
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    assert "answer at least one" in (await kit.advance(close_round=True)).message
    await kit.answer(1)
    answer = await kit.advance(close_round=True)
    assert answer.round.state == pb.ROUND_STATE_TRAINING
    assert "training" in answer.message


async def test_a_round_whose_proposals_are_all_passed_over_ends_without_training(kit):
    await kit.start()
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    await kit.skip()
    await kit.conductor.advance(CAMPAIGN)
    current = await kit.round()
    assert current.name.endswith("/2")
    assert await kit.jobs(TRAIN) == []
    # What was passed over is not offered again.
    await kit.rank()
    old, new = (
        [Box.from_proto(proposal.box) for proposal in proposals]
        for proposals in (await kit.proposals(1), await kit.proposals(2))
    )
    assert all(a.intersection(b) is None for a in old for b in new)
    # The first training is that of the first answers, whichever round they come in.
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    (training,) = await kit.jobs(TRAIN)
    assert training.train_spec.settings.learning_rate == pytest.approx(1e-3)


async def test_where_half_a_first_batch_is_passed_over_the_whole_follows(kit):
    await kit.start(initial_patches=4, pretraining=jobs_pb2.TrainingSettings(steps=5))
    await kit.conductor.advance(CAMPAIGN)
    assert len((await kit.rank()).patches) == 2
    await kit.skip()
    await kit.conductor.advance(CAMPAIGN)
    # There are no labels yet for a model to choose by.
    result = await kit.rank()
    assert (len(result.patches), set(result.patches[0].statistics)) == (4, set())
    await kit.answer()
    await kit.train()
    await kit.conductor.advance(CAMPAIGN)
    training = (await kit.jobs(TRAIN))[0]
    assert training.train_spec.base_version.endswith("/versions/1")
    assert training.train_spec.settings.learning_rate == pytest.approx(1e-3)


async def test_a_manual_campaign_opens_rounds_only_when_asked(kit):
    await kit.start(automatic=False)
    assert "waits for a person" in await kit.conductor.advance(CAMPAIGN)
    answer = await kit.advance()
    assert "Round 1 was opened." in answer.message
    assert answer.round.rank_job
    await kit.rank()
    await kit.answer()
    # The rest of the round goes on by itself.
    await kit.conductor.advance(CAMPAIGN)
    await kit.train()
    await kit.conductor.advance(CAMPAIGN)
    await kit.evaluate(0.5)
    assert "Round 2 waits for a person" in (await kit.conductor.advance(CAMPAIGN)) + (
        await kit.conductor.advance(CAMPAIGN)
    )
    assert (await kit.round()).name.endswith("/1")
    assert (await kit.advance()).round.name.endswith("/2")


async def test_the_next_proposals_come_before_the_measuring(kit):
    await kit.start()
    await one_round(kit)
    first, second = await kit.rounds()
    assert (first.state, second.state) == (pb.ROUND_STATE_EVALUATING, pb.ROUND_STATE_RANKING)
    assert second.base_version == first.version != ""
    assert await kit.jobs(EVALUATE) == []
    await kit.rank()
    await kit.conductor.advance(CAMPAIGN)
    (job,) = await kit.jobs(EVALUATE)
    assert job.evaluate_spec.version == first.version
    # People label while the version is being measured, and the figures come when they come.
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    first, second = await kit.rounds()
    assert (first.evaluate_job, second.state) == (job.name, pb.ROUND_STATE_TRAINING)
    await kit.evaluate(0.4, 1)
    first, _ = await kit.rounds()
    assert (first.state, first.metrics["iou"]) == (pb.ROUND_STATE_DONE, pytest.approx(0.4))


async def test_a_failed_evaluation_holds_the_campaign_until_mended(kit):
    await kit.start()
    await one_round(kit)
    await kit.rank()
    await kit.conductor.advance(CAMPAIGN)
    (job,) = await kit.jobs(EVALUATE)
    await kit.fail(job.name, "The labels are gone.")
    await kit.conductor.advance(CAMPAIGN)
    assert "The labels are gone." in (await kit.campaign()).state_reason
    await kit.stubs.jobs.RetryJob(jobs_pb2.RetryJobRequest(name=job.name))
    await kit.set_state(pb.CAMPAIGN_STATE_ACTIVE)
    await kit.evaluate(0.2)
    await kit.conductor.advance(CAMPAIGN)
    assert (await kit.campaign()).state == pb.CAMPAIGN_STATE_ACTIVE
    assert (await kit.rounds())[0].state == pb.ROUND_STATE_DONE


async def test_an_evaluation_that_was_cut_off_before_it_was_recorded_is_taken_up(kit):
    await kit.start()
    await one_round(kit)
    await kit.rank()
    driver = Driver(kit.stubs)
    first = (await kit.rounds())[0]
    await driver._stubs.inference.StartEvaluation(driver._evaluation(await kit.campaign(), first))
    await kit.evaluate(0.3)
    (job,) = await kit.jobs(EVALUATE)
    first = (await kit.rounds())[0]
    assert (first.state, first.evaluate_job) == (pb.ROUND_STATE_DONE, job.name)
    await kit.conductor.advance(CAMPAIGN)
    assert len(await kit.jobs(EVALUATE)) == 1


async def test_without_evaluation_a_round_ends_with_its_version(kit):
    await kit.start(evaluation=None)
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    await kit.train()
    await kit.conductor.advance(CAMPAIGN)
    rounds = (await kit.stubs.campaigns.ListRounds(pb.ListRoundsRequest(parent=CAMPAIGN))).rounds
    assert [r.state for r in rounds] == [pb.ROUND_STATE_DONE, pb.ROUND_STATE_RANKING]
    assert rounds[1].base_version == rounds[0].version != ""
    assert await kit.jobs(EVALUATE) == []


async def test_a_failed_job_fails_the_campaign_with_its_sentence_until_mended(kit):
    await kit.start()
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    job = (await kit.round()).train_job
    await kit.fail(job, "The loss is not finite.")
    await kit.conductor.advance(CAMPAIGN)
    campaign = await kit.campaign()
    assert campaign.state == pb.CAMPAIGN_STATE_FAILED
    assert "The loss is not finite." in campaign.state_reason
    assert "has failed" in (await kit.advance()).message
    await kit.stubs.jobs.RetryJob(jobs_pb2.RetryJobRequest(name=job))
    await kit.set_state(pb.CAMPAIGN_STATE_ACTIVE)
    await kit.train()
    await kit.conductor.advance(CAMPAIGN)
    assert (await kit.rounds())[0].state == pb.ROUND_STATE_EVALUATING


async def test_a_paused_campaign_starts_nothing(kit):
    await kit.start()
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    await kit.answer()
    await kit.set_state(pb.CAMPAIGN_STATE_PAUSED)
    assert "paused" in (await kit.advance()).message
    assert await kit.jobs(TRAIN) == []
    assert (await kit.campaign()).state == pb.CAMPAIGN_STATE_PAUSED


async def test_a_region_without_room_finishes_the_campaign(kit):
    await kit.start(
        region=Box((0, 0, 0), (1, 16, 16)).to_proto(), initial_patches=1, batch_patches=1
    )
    await one_round(kit)
    with pytest.raises(Exception, match="no room for another patch") as raised:
        await kit.rank()
    # The claim of the failed attempt is still held; report as the worker would.
    job = (await kit.round()).rank_job
    await kit.stubs.workers.FailJob(
        jobs_pb2.FailJobRequest(
            job=job,
            attempt=1,
            error=jobs_pb2.JobError(message=str(raised.value), metadata=raised.value.metadata),
            kind=jobs_pb2.FAILURE_KIND_PERMANENT,
        )
    )
    # What there is is measured first.
    assert "is being measured" in await kit.conductor.advance(CAMPAIGN) + (
        await kit.conductor.advance(CAMPAIGN)
    )
    await kit.evaluate(0.3)
    await kit.conductor.advance(CAMPAIGN)
    campaign = await kit.campaign()
    assert campaign.state == pb.CAMPAIGN_STATE_FINISHED
    assert "no room" in campaign.state_reason


async def test_missing_scores_fail_the_ranking(kit):
    await kit.start()
    await one_round(kit)
    await kit.conductor.advance(CAMPAIGN)
    kit.inference.scores_left_out = 1
    with pytest.raises(InternalError, match="39 of 40 patches"):
        await kit.rank()


async def test_the_conductor_looks_at_active_campaigns_by_itself(kit, eventually):
    await kit.start()
    conductor = Conductor(kit.stubs, sweep_seconds=0.1)
    stopping = asyncio.Event()
    running = asyncio.create_task(conductor.run(stopping))

    async def ranking() -> bool:
        return len(await kit.jobs(RANK)) == 1

    await eventually(ranking)
    stopping.set()
    await asyncio.wait_for(running, 10)


async def test_a_stale_look_is_aborted_not_applied(kit):
    await kit.start()
    campaign = await kit.campaign()
    driver = Driver(kit.stubs)
    await driver.step(campaign, open_round=True)
    stale = await kit.round()
    await driver.step(campaign, open_round=True)
    await kit.rank()
    with pytest.raises(AbortedError):
        await driver._move(stale, pb.ROUND_STATE_RANKING, pb.Round())
