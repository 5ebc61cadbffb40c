"""Blocked jobs: the frontier moves, nothing is done twice, nothing is forgotten."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from biosegment.client.errors import (
    BlocksNotClaimableError,
    FailedPreconditionError,
    LeaseLostError,
)
from biosegment.registry.jobs.ledger import PAGE_BLOCKS
from biosegment.registry.tables.jobs import LedgerPageRow
from biosegment.v1 import jobs_pb2 as pb
from tests.registry.jobs_kit import Kit, job_kit


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    async with job_kit(tmp_path, frontier_runs=4, block_failures=2) as made:
        yield made


async def planned(kit: Kit, blocks: int, run_length: int = 1) -> pb.Job:
    return await kit.plan(await kit.claim(await kit.create()), blocks, run_length)


async def work_off(kit: Kit, job: pb.Job) -> None:
    """Does whatever is on the frontier until nothing is."""
    while runs := await kit.runs(job):
        for first in runs:
            claim = await kit.claim_blocks(job, first)
            await kit.settle(claim, first, [block.index for block in claim.blocks])


async def test_all_blocks_are_done_once_and_then_the_job_is_finished(kit: Kit) -> None:
    job = await planned(kit, 11, run_length=2)
    assert (job.blocks.total, job.blocks.frontier) == (11, 4)
    assert job.stage == pb.JOB_STAGE_BLOCKS
    await work_off(kit, job)
    after = await kit.get(job)
    assert (after.blocks.done, after.blocks.frontier) == (11, 0)
    assert after.stage == pb.JOB_STAGE_FINISH
    assert after.state == pb.JOB_STATE_RUNNING
    finisher = await kit.claim(job, "finisher")
    assert (await kit.complete(finisher)).state == pb.JOB_STATE_SUCCEEDED


async def test_a_job_cannot_be_claimed_while_its_blocks_are_out(kit: Kit) -> None:
    job = await planned(kit, 3)
    with pytest.raises(Exception, match="cannot be claimed"):
        await kit.claim(job)


async def test_a_run_has_one_holder_and_a_lapsed_one_is_fenced(kit: Kit) -> None:
    job = await planned(kit, 2, run_length=2)
    first = await kit.claim_blocks(job, 0, "w1")
    with pytest.raises(BlocksNotClaimableError):
        await kit.claim_blocks(job, 0, "w2")
    await kit.settle(first, 0, [0], release=False)
    await kit.lapse()
    second = await kit.claim_blocks(job, 0, "w2")
    assert [block.index for block in second.blocks] == [1]
    with pytest.raises(LeaseLostError):
        await kit.settle(first, 0, [1])
    await kit.settle(second, 0, [1])
    assert (await kit.get(job)).blocks.done == 2


async def test_a_repeated_settlement_is_harmless(kit: Kit) -> None:
    job = await planned(kit, 2)
    claim = await kit.claim_blocks(job, 0)
    await kit.settle(claim, 0, [0])
    await kit.settle(claim, 0, [0])
    assert (await kit.get(job)).blocks.done == 1


async def test_blocks_that_needed_no_work_are_counted_once(kit: Kit) -> None:
    job = await planned(kit, 4, run_length=2)
    claim = await kit.claim_blocks(job, 0)
    await kit.settle(claim, 0, [0], release=False, skipped=[0, 3])
    await kit.settle(claim, 0, [0, 1], skipped=[0])
    await kit.settle(await kit.claim_blocks(job, 2), 2, [2, 3], skipped=[3])
    after = await kit.get(job)
    assert (after.blocks.done, after.blocks.skipped) == (4, 2)


async def test_a_poisoned_block_is_quarantined_named_and_can_be_retried(kit: Kit) -> None:
    job = await planned(kit, 3)
    for _ in range(2):
        claim = await kit.claim_blocks(job, 1)
        await kit.settle(claim, 1, failed=[1])
        await kit.due()
    await work_off(kit, job)
    ended = await kit.complete(await kit.claim(job))
    assert ended.state == pb.JOB_STATE_PARTIALLY_SUCCEEDED
    assert (ended.blocks.done, ended.blocks.quarantined) == (2, 1)
    assert [(f.block, f.box.z_start, f.error.message) for f in ended.partial_failures] == [
        (1, 1, "The block is poisoned.")
    ]
    again = await kit.retry(job)
    assert await kit.runs(again) == [1]
    await work_off(kit, again)
    assert (await kit.complete(await kit.claim(again))).state == pb.JOB_STATE_SUCCEEDED


async def test_a_job_without_one_good_block_fails(kit: Kit) -> None:
    job = await planned(kit, 1)
    for _ in range(2):
        await kit.settle(await kit.claim_blocks(job, 0), 0, failed=[0])
        await kit.due()
    after = await kit.get(job)
    assert after.state == pb.JOB_STATE_FAILED
    assert after.error.message == "The block is poisoned."


async def test_cancelling_waits_for_the_workers_that_hold_blocks(kit: Kit) -> None:
    job = await planned(kit, 6)
    claim = await kit.claim_blocks(job, 2)
    assert (await kit.cancel(job)).state == pb.JOB_STATE_CANCELLING
    with pytest.raises(BlocksNotClaimableError):
        await kit.claim_blocks(job, 0)
    assert await kit.settle(claim, 2)
    assert (await kit.get(job)).state == pb.JOB_STATE_CANCELLED
    resumed = await kit.retry(job)
    assert resumed.stage == pb.JOB_STAGE_BLOCKS
    await work_off(kit, job)
    assert (await kit.get(job)).blocks.done == 6


async def test_a_run_that_kills_its_workers_is_quarantined(kit: Kit) -> None:
    job = await planned(kit, 2)
    for _ in range(kit.settings.max_failures):
        await kit.claim_blocks(job, 0)
        await kit.lapse()
    after = await kit.get(job)
    assert after.blocks.quarantined == 1
    assert "stopped answering" in after.partial_failures[0].error.message


async def test_a_block_that_failed_and_then_kills_its_workers_is_quarantined(kit: Kit) -> None:
    job = await planned(kit, 2)
    await kit.settle(await kit.claim_blocks(job, 0), 0, failed=[0])
    await kit.due()
    for _ in range(kit.settings.max_failures):
        await kit.claim_blocks(job, 0)
        await kit.lapse()
    after = await kit.get(job)
    assert after.blocks.quarantined == 1
    assert "stopped answering" in after.partial_failures[0].error.message


async def test_a_job_goes_through_its_blocks_again_in_the_next_phase(kit: Kit) -> None:
    job = await planned(kit, 3)
    stale = await kit.claim_blocks(job, 0, "zombie")
    await kit.lapse()
    await work_off(kit, job)
    again = await kit.plan(await kit.claim(job), 5)
    assert (again.stage, again.blocks.phase) == (pb.JOB_STAGE_BLOCKS, 1)
    assert (again.blocks.done, again.blocks.total) == (0, 5)
    current = await kit.claim_blocks(job, 0)
    assert current.job.blocks.phase == 1
    with pytest.raises(LeaseLostError):
        await kit.settle(stale, 0, [0])
    assert (await kit.get(job)).blocks.done == 0
    await kit.settle(current, 0, [0])
    await work_off(kit, job)
    assert (await kit.complete(await kit.claim(job))).state == pb.JOB_STATE_SUCCEEDED


async def test_a_cancelled_job_goes_on_in_its_phase(kit: Kit) -> None:
    job = await planned(kit, 2)
    await work_off(kit, job)
    await kit.plan(await kit.claim(job), 3)
    claim = await kit.claim_blocks(job, 0)
    await kit.cancel(job)
    await kit.settle(claim, 0, [0])
    assert (await kit.get(job)).state == pb.JOB_STATE_CANCELLED
    again = await kit.retry(job)
    assert (again.blocks.phase, again.blocks.done, again.blocks.total) == (1, 1, 3)
    assert await kit.runs(again) == [1, 2]


async def test_no_phase_begins_on_blocks_that_were_given_up(kit: Kit) -> None:
    job = await planned(kit, 3)
    for _ in range(2):
        await kit.settle(await kit.claim_blocks(job, 1), 1, failed=[1])
        await kit.due()
    await work_off(kit, job)
    finisher = await kit.claim(job)
    with pytest.raises(FailedPreconditionError, match="1 of 3 blocks"):
        await kit.plan(finisher, 3)
    await kit.fail(finisher, pb.FAILURE_KIND_PERMANENT)
    await kit.retry(job)
    assert await kit.runs(job) == [1]
    await work_off(kit, job)
    assert (await kit.plan(await kit.claim(job), 3)).blocks.phase == 1


async def test_a_million_blocks_start_with_a_frontier_and_no_pages(kit: Kit) -> None:
    job = await planned(kit, 1_000_000)
    assert (job.blocks.total, job.blocks.frontier) == (1_000_000, 4)
    claim = await kit.claim_blocks(job, 2)
    await kit.settle(claim, 2, [2])
    async with kit.database.read() as session:
        pages = await session.scalar(select(func.count()).select_from(LedgerPageRow))
        bits = await session.scalar(select(LedgerPageRow.bits))
    assert pages == 1
    assert len(bits or b"") == PAGE_BLOCKS // 8
    assert await kit.runs(job) == [0, 1, 3, 4]


async def test_a_worker_from_before_a_cancellation_settles_nothing_after_a_retry(kit: Kit) -> None:
    job = await planned(kit, 2)
    stale = await kit.claim_blocks(job, 0, "zombie")
    await kit.cancel(job)
    await kit.lapse()
    assert (await kit.get(job)).state == pb.JOB_STATE_CANCELLED
    await kit.retry(job)
    current = await kit.claim_blocks(job, 0)
    assert current.attempt > stale.attempt
    for done, failed in (([0], []), ([], [0]), ([], [])):
        with pytest.raises(LeaseLostError):
            await kit.settle(stale, 0, done, failed)
    after = await kit.get(job)
    assert (after.blocks.done, after.blocks.quarantined, after.blocks.frontier) == (0, 0, 2)
    await kit.settle(current, 0, [0])
    await work_off(kit, job)
    assert (await kit.complete(await kit.claim(job))).state == pb.JOB_STATE_SUCCEEDED


async def test_a_worker_of_blocks_given_up_settles_nothing_after_a_retry(kit: Kit) -> None:
    job = await planned(kit, 2)
    claims = []
    for _ in range(kit.settings.max_failures):
        claims.append(await kit.claim_blocks(job, 0))
        await kit.lapse()
    await work_off(kit, job)
    await kit.complete(await kit.claim(job))
    await kit.retry(job)
    current = await kit.claim_blocks(job, 0)
    for stale in claims:
        with pytest.raises(LeaseLostError):
            await kit.settle(stale, 0, [0])
    await kit.settle(current, 0, [0])
    assert (await kit.complete(await kit.claim(job))).state == pb.JOB_STATE_SUCCEEDED
