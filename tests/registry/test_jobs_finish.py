"""Trainings that are asked to end with what they have, and progress within a block."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from biosegment.client.errors import FailedPreconditionError
from biosegment.v1 import jobs_pb2 as pb
from tests.registry.jobs_kit import CONTEXT, PROJECT, Kit, job_kit

SPEC = pb.TrainSpec(model=f"{PROJECT}/models/m", dataset=f"{PROJECT}/datasets/d")


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    async with job_kit(tmp_path, block_failures=1, retry_seconds=0.01) as made:
        yield made


async def training(kit: Kit) -> pb.Job:
    request = pb.CreateJobRequest(parent=PROJECT, job=pb.Job(train_spec=SPEC))
    return (await kit.people.CreateJob(request, CONTEXT)).job


async def finish(kit: Kit, job: pb.Job) -> pb.Job:
    return (await kit.people.FinishJob(pb.FinishJobRequest(name=job.name), CONTEXT)).job


async def told(kit: Kit, job: pb.Job) -> bool:
    request = pb.HeartbeatJobRequest(job=job.name, attempt=job.attempt)
    return (await kit.workers.HeartbeatJob(request, CONTEXT)).finish_requested


async def test_a_running_training_hears_of_it_with_its_heartbeat(kit: Kit) -> None:
    job = await kit.claim(await training(kit))
    assert not await told(kit, job)
    assert (await finish(kit, job)).finishing
    assert await told(kit, job)
    # Twice is once.
    assert (await finish(kit, job)).state == pb.JOB_STATE_RUNNING


async def test_whoever_takes_it_up_after_a_crash_hears_of_it_too(kit: Kit) -> None:
    job = await kit.claim(await training(kit))
    await finish(kit, job)
    await kit.lapse()
    again = await kit.claim(job, "w2")
    assert again.finishing
    assert await told(kit, again)


async def test_one_that_waits_or_is_paused_will_hear_of_it(kit: Kit) -> None:
    job = await training(kit)
    await finish(kit, job)
    await kit.pause(job)
    await kit.resume(job)
    assert (await kit.claim(job)).finishing


async def test_one_that_has_ended_is_left_as_it_is(kit: Kit) -> None:
    job = await training(kit)
    await kit.cancel(job)
    assert not (await finish(kit, job)).finishing


async def test_one_that_is_tried_again_is_not_in_a_hurry(kit: Kit) -> None:
    job = await training(kit)
    await finish(kit, job)
    await kit.cancel(job)
    assert not (await kit.retry(job)).finishing


async def test_part_of_other_work_is_worth_nothing(kit: Kit) -> None:
    with pytest.raises(FailedPreconditionError, match="only a training can end early"):
        await finish(kit, await kit.create())


async def test_what_a_worker_has_measured_of_the_time_left_is_kept(kit: Kit) -> None:
    job = await kit.claim(await training(kit))
    progress = pb.Progress(done=10, total=110, stage="training")
    progress.eta.FromSeconds(50)
    await kit.beat(job, progress)
    await kit.beat(job, progress)
    seen = (await kit.get(job)).progress
    assert (seen.eta.seconds, seen.rate) == (50, 2.0)


async def settle(kit: Kit, claim: pb.ClaimBlocksResponse, **fields: object) -> None:
    request = pb.SettleBlocksRequest(
        job=claim.job.name,
        first_block=0,
        attempt=claim.attempt,
        **fields,  # type: ignore[arg-type]
    )
    await kit.workers.SettleBlocks(request, CONTEXT)


async def test_a_single_block_does_not_stand_still_until_its_end(kit: Kit) -> None:
    job = await kit.plan(await kit.claim(await kit.create()), 1)
    claim = await kit.claim_blocks(job, 0)
    await settle(kit, claim, part=0.25)
    progress = (await kit.get(job)).progress
    assert (progress.done, progress.total, progress.fraction) == (0, 1, 0.25)
    assert progress.rate > 0
    assert progress.HasField("eta")


async def test_parts_of_several_runs_add_up_and_are_not_counted_twice(kit: Kit) -> None:
    job = await kit.plan(await kit.claim(await kit.create()), 4)
    first = await kit.claim_blocks(job, 0)
    await settle(kit, first, part=0.5)
    second = await kit.claim_blocks(job, 1, "w2")
    request = pb.SettleBlocksRequest(job=job.name, first_block=1, attempt=second.attempt, part=0.5)
    await kit.workers.SettleBlocks(request, CONTEXT)
    assert (await kit.get(job)).progress.fraction == pytest.approx(0.25)
    await settle(kit, first, done_blocks=[0])
    assert (await kit.get(job)).progress.fraction == pytest.approx(0.375)


@pytest.mark.parametrize("part", [float("nan"), -1.0, 1e300])
async def test_a_part_that_makes_no_sense_is_none(kit: Kit, part: float) -> None:
    job = await kit.plan(await kit.claim(await kit.create()), 2)
    await settle(kit, await kit.claim_blocks(job, 0), part=part)
    assert (await kit.get(job)).progress.fraction == 0


async def test_what_a_lost_worker_had_computed_is_not_counted(kit: Kit) -> None:
    job = await kit.plan(await kit.claim(await kit.create()), 2)
    await settle(kit, await kit.claim_blocks(job, 0), part=0.9)
    await kit.lapse()
    assert (await kit.get(job)).progress.fraction == 0


async def test_all_is_done_only_once_it_is_stored(kit: Kit) -> None:
    job = await kit.plan(await kit.claim(await kit.create()), 1)
    await settle(kit, await kit.claim_blocks(job, 0), part=1.0)
    assert (await kit.get(job)).progress.fraction < 1
