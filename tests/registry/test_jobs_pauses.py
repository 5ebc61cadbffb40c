"""Pause and resume: what is in hand ends, nothing begins, nothing is forgotten."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from biosegment.client.errors import (
    BlocksNotClaimableError,
    FailedPreconditionError,
    JobNotClaimableError,
)
from biosegment.registry.jobs import rows
from biosegment.registry.tables.jobs import LedgerRow
from biosegment.v1 import jobs_pb2 as pb
from tests.registry.jobs_kit import Kit, job_kit

TRAIN = {"train_spec": pb.TrainSpec(model="projects/p/models/m")}
BLOCKED = {"instances_spec": pb.InstancesSpec(volume="projects/p/volumes/v")}
ENDED = "biosegment.events.job.ended"


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    async with job_kit(tmp_path, frontier_runs=2, max_failures=3) as made:
        yield made


async def planned(kit: Kit, blocks: int) -> pb.Job:
    return await kit.plan(await kit.claim(await kit.create(**BLOCKED)), blocks)


async def work_off(kit: Kit, job: pb.Job) -> None:
    while runs := await kit.runs(job):
        for first in runs:
            await kit.settle(await kit.claim_blocks(job, first), first, [first])


async def test_a_waiting_job_is_paused_at_once_and_waits_again(kit: Kit) -> None:
    job = await kit.create()
    assert (await kit.pause(job)).state == pb.JOB_STATE_PAUSED
    assert (await kit.pause(job)).state == pb.JOB_STATE_PAUSED
    with pytest.raises(JobNotClaimableError, match="PAUSED"):
        await kit.claim(job)
    assert (await kit.resume(job)).state == pb.JOB_STATE_QUEUED
    assert (await kit.resume(job)).state == pb.JOB_STATE_QUEUED
    # The wake-up of before may have been used up meanwhile.
    assert await kit.sent("biosegment.jobs.export") == 2
    done = await kit.complete(await kit.claim(job))
    assert (done.state, done.failures) == (pb.JOB_STATE_SUCCEEDED, 0)


async def test_a_training_lets_go_and_goes_on_without_a_failure(kit: Kit) -> None:
    claimed = await kit.claim(await kit.create(**TRAIN))
    assert (await kit.pause(claimed)).state == pb.JOB_STATE_PAUSING
    assert await kit.beat(claimed) == "pause"
    after = await kit.fail(claimed, pb.FAILURE_KIND_RELEASED)
    assert (after.state, after.holder, after.failures) == (pb.JOB_STATE_PAUSED, "", 0)
    again = await kit.resume(claimed)
    assert (again.state, (await kit.claim(again)).attempt) == (pb.JOB_STATE_QUEUED, 2)


async def test_a_pause_that_comes_too_late_is_a_success(kit: Kit) -> None:
    job = await planned(kit, 1)
    await kit.settle(await kit.claim_blocks(job, 0), 0, [0])
    claimed = await kit.claim(job)
    assert (await kit.pause(job)).state == pb.JOB_STATE_PAUSING
    assert (await kit.complete(claimed)).state == pb.JOB_STATE_SUCCEEDED


async def test_one_that_fails_while_it_pauses_is_paused_and_its_failure_counted(kit: Kit) -> None:
    claimed = await kit.claim(await kit.create(**TRAIN))
    await kit.pause(claimed)
    await kit.lapse()
    after = await kit.get(claimed)
    assert (after.state, after.failures) == (pb.JOB_STATE_PAUSED, 1)
    sent = await kit.sent("biosegment.jobs.train")
    await kit.due()
    assert await kit.sent("biosegment.jobs.train") == sent
    await kit.resume(claimed)
    assert (await kit.claim(claimed)).attempt == 2


async def test_blocks_in_hand_end_and_no_other_begins(kit: Kit) -> None:
    job = await planned(kit, 6)
    first, second = await kit.claim_blocks(job, 0), await kit.claim_blocks(job, 1, "w2")
    assert (await kit.pause(job)).state == pb.JOB_STATE_PAUSING
    assert await kit.settle(first, 0, [0]) == "pause"
    now = await kit.get(job)
    assert (now.state, now.blocks.done, now.blocks.frontier) == (pb.JOB_STATE_PAUSING, 1, 1)
    # The other gives its block back.
    assert await kit.settle(second, 1) == "pause"
    now = await kit.get(job)
    assert (now.state, now.blocks.done, now.blocks.frontier) == (pb.JOB_STATE_PAUSED, 1, 1)
    with pytest.raises(BlocksNotClaimableError, match="PAUSED"):
        await kit.claim_blocks(job, 1)
    await kit.due()
    assert (await kit.get(job)) == now
    resumed = await kit.resume(job)
    assert (resumed.state, resumed.blocks.frontier) == (pb.JOB_STATE_RUNNING, 2)
    await work_off(kit, job)
    assert (await kit.get(job)).blocks.done == 6
    assert (await kit.get(job)).stage == pb.JOB_STAGE_FINISH


async def test_a_worker_that_dies_while_it_pauses_leaves_the_job_paused(kit: Kit) -> None:
    job = await planned(kit, 3)
    await kit.claim_blocks(job, 0)
    await kit.pause(job)
    await kit.lapse()
    assert (await kit.get(job)).state == pb.JOB_STATE_PAUSED
    await kit.resume(job)
    await kit.due()
    await work_off(kit, job)
    assert (await kit.get(job)).blocks.done == 3


async def test_a_pause_at_the_last_block_is_a_pause(kit: Kit) -> None:
    job = await planned(kit, 1)
    claim = await kit.claim_blocks(job, 0)
    await kit.pause(job)
    await kit.settle(claim, 0, [0])
    paused = await kit.get(job)
    assert (paused.state, paused.stage) == (pb.JOB_STATE_PAUSED, pb.JOB_STAGE_BLOCKS)
    resumed = await kit.resume(job)
    assert (resumed.state, resumed.stage) == (pb.JOB_STATE_RUNNING, pb.JOB_STAGE_FINISH)
    # Between the last block and the finish nobody holds it.
    assert (await kit.pause(job)).state == pb.JOB_STATE_PAUSED
    assert (await kit.resume(job)).state == pb.JOB_STATE_QUEUED
    assert (await kit.complete(await kit.claim(job))).state == pb.JOB_STATE_SUCCEEDED


async def test_a_pause_while_it_is_planned_opens_no_frontier(kit: Kit) -> None:
    claimed = await kit.claim(await kit.create(**BLOCKED))
    await kit.pause(claimed)
    after = await kit.plan(claimed, 4)
    assert (after.state, after.blocks.frontier) == (pb.JOB_STATE_PAUSED, 0)
    assert (await kit.resume(after)).blocks.frontier == 2


async def test_a_pause_is_taken_back_before_everybody_has_let_go(kit: Kit) -> None:
    job = await planned(kit, 4)
    claim = await kit.claim_blocks(job, 0)
    await kit.pause(job)
    assert (await kit.resume(job)).state == pb.JOB_STATE_RUNNING
    assert await kit.settle(claim, 0, [0]) == ""
    await work_off(kit, job)
    assert (await kit.get(job)).blocks.done == 4


async def test_a_paused_job_can_be_cancelled_and_retried(kit: Kit) -> None:
    job = await planned(kit, 3)
    claim = await kit.claim_blocks(job, 0)
    await kit.pause(job)
    assert (await kit.cancel(job)).state == pb.JOB_STATE_CANCELLING
    assert await kit.settle(claim, 0, [0]) == "cancel"
    assert (await kit.get(job)).state == pb.JOB_STATE_CANCELLED
    await kit.retry(job)
    assert (await kit.pause(job)).state == pb.JOB_STATE_PAUSED
    assert (await kit.cancel(job)).state == pb.JOB_STATE_CANCELLED
    assert await kit.sent(ENDED) == 2


async def test_what_cannot_be_paused_or_resumed_says_why(kit: Kit) -> None:
    running = await kit.claim(await kit.create())
    with pytest.raises(FailedPreconditionError, match="export is done in one piece"):
        await kit.pause(running)
    done = await kit.complete(running)
    with pytest.raises(FailedPreconditionError, match="SUCCEEDED; only a job that is waiting"):
        await kit.pause(done)
    with pytest.raises(FailedPreconditionError, match="SUCCEEDED; only a paused job"):
        await kit.resume(done)
    cancelled = await kit.cancel(await kit.create())
    with pytest.raises(FailedPreconditionError, match="job retry"):
        await kit.resume(cancelled)


async def test_the_pace_leaves_the_pause_out(kit: Kit) -> None:
    job = await planned(kit, 4)
    await kit.settle(await kit.claim_blocks(job, 0), 0, [0])
    paused = await kit.pause(job)
    assert (paused.progress.done, paused.progress.rate) == (1, 0)
    assert not paused.progress.HasField("eta")
    async with kit.database.write() as session:
        (await session.get_one(LedgerRow, job.name)).start_time -= timedelta(hours=5)
        (await rows.load(session, job.name)).update_time -= timedelta(hours=5)
    assert (await kit.resume(job)).progress.rate > 0.01
