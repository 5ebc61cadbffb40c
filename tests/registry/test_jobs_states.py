"""One job from its record to its end."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from biosegment.client.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    JobNotClaimableError,
    LeaseLostError,
    NotFoundError,
)
from biosegment.registry.database import now
from biosegment.registry.tables.outbox import RequestRow
from biosegment.v1 import jobs_pb2 as pb
from tests.registry.jobs_kit import CONTEXT, PROJECT, Kit, job_kit


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    async with job_kit(tmp_path, max_failures=3) as made:
        yield made


ENDED = "biosegment.events.job.ended"


async def test_a_job_runs_from_queued_to_succeeded(kit: Kit) -> None:
    job = await kit.create()
    assert job.state == pb.JOB_STATE_QUEUED
    assert await kit.sent("biosegment.jobs.export") == 1
    claimed = await kit.claim(job)
    assert (claimed.state, claimed.attempt, claimed.holder) == (pb.JOB_STATE_RUNNING, 1, "w1")
    assert not await kit.beat(claimed, pb.Progress(done=1, total=4, stage="pages"))
    assert (await kit.get(job)).progress.done == 1
    done = await kit.complete(claimed)
    assert done.state == pb.JOB_STATE_SUCCEEDED
    assert done.result.export_result.path == "/x"
    assert (done.progress.done, done.progress.total) == (4, 4)
    assert not done.holder
    assert await kit.sent(ENDED) == 1


async def test_a_repeated_completion_changes_nothing(kit: Kit) -> None:
    claimed = await kit.claim(await kit.create())
    await kit.complete(claimed)
    again = await kit.complete(claimed)
    assert again.state == pb.JOB_STATE_SUCCEEDED
    assert await kit.sent(ENDED) == 1


async def test_only_one_of_many_workers_gets_the_job(kit: Kit) -> None:
    job = await kit.create()
    claims = await asyncio.gather(
        *(kit.claim(job, f"w{n}") for n in range(8)), return_exceptions=True
    )
    won = [claim for claim in claims if isinstance(claim, pb.Job)]
    assert len(won) == 1
    lost = [claim for claim in claims if not isinstance(claim, pb.Job)]
    assert all(isinstance(claim, JobNotClaimableError) for claim in lost)


async def test_a_lapsed_lease_puts_the_job_back_and_fences_the_old_worker(kit: Kit) -> None:
    first = await kit.claim(await kit.create())
    await kit.lapse()
    waiting = await kit.get(first)
    assert waiting.state == pb.JOB_STATE_QUEUED
    assert "w1" in waiting.error.message
    second = await kit.claim(first, "w2")
    assert second.attempt == 2
    for late in (kit.beat(first), kit.complete(first), kit.fail(first)):
        with pytest.raises(LeaseLostError):
            await late
    assert (await kit.complete(second)).state == pb.JOB_STATE_SUCCEEDED


async def test_failures_are_retried_until_they_are_too_many(kit: Kit) -> None:
    job = await kit.create()
    for failure in (1, 2):
        after = await kit.fail(await kit.claim(job))
        assert (after.state, after.failures) == (pb.JOB_STATE_QUEUED, failure)
        with pytest.raises(JobNotClaimableError):
            await kit.claim(job)  # Not due yet.
        await kit.due()
    after = await kit.fail(await kit.claim(job))
    assert after.state == pb.JOB_STATE_FAILED
    assert after.error.message == "It broke."
    assert await kit.sent(ENDED) == 1
    assert await kit.sent("biosegment.dead.export") == 1
    # The first wake-up, and one for each retry.
    assert await kit.sent("biosegment.jobs.export") == 3


async def test_a_permanent_failure_is_not_retried(kit: Kit) -> None:
    after = await kit.fail(await kit.claim(await kit.create()), pb.FAILURE_KIND_PERMANENT)
    assert after.state == pb.JOB_STATE_FAILED


async def test_a_release_does_not_count(kit: Kit) -> None:
    job = await kit.create()
    after = await kit.fail(await kit.claim(job), pb.FAILURE_KIND_RELEASED)
    assert (after.state, after.failures) == (pb.JOB_STATE_QUEUED, 0)
    assert (await kit.claim(job)).attempt == 2


async def test_cancelling_a_waiting_job_ends_it_at_once(kit: Kit) -> None:
    job = await kit.cancel(await kit.create())
    assert job.state == pb.JOB_STATE_CANCELLED
    assert (await kit.cancel(job)).state == pb.JOB_STATE_CANCELLED
    assert await kit.sent(ENDED) == 1


async def test_a_running_job_hears_of_its_cancellation(kit: Kit) -> None:
    claimed = await kit.claim(await kit.create())
    assert (await kit.cancel(claimed)).state == pb.JOB_STATE_CANCELLING
    assert await kit.beat(claimed)
    after = await kit.fail(claimed, pb.FAILURE_KIND_CANCELLED)
    assert after.state == pb.JOB_STATE_CANCELLED


async def test_a_cancelled_job_whose_worker_died_ends_cancelled(kit: Kit) -> None:
    claimed = await kit.claim(await kit.create())
    await kit.cancel(claimed)
    await kit.lapse()
    assert (await kit.get(claimed)).state == pb.JOB_STATE_CANCELLED


async def test_an_ended_job_can_be_retried_but_not_one_that_succeeded(kit: Kit) -> None:
    failed = await kit.fail(await kit.claim(await kit.create()), pb.FAILURE_KIND_PERMANENT)
    again = await kit.retry(failed)
    assert (again.state, again.failures, again.HasField("error")) == (
        pb.JOB_STATE_QUEUED,
        0,
        False,
    )
    done = await kit.complete(await kit.claim(again))
    with pytest.raises(FailedPreconditionError, match="SUCCEEDED"):
        await kit.retry(done)


async def test_the_same_request_id_makes_one_job(kit: Kit) -> None:
    first = await kit.create("request-1")
    assert (await kit.create("request-1")).name == first.name
    assert (await kit.create("request-2")).name != first.name
    with pytest.raises(InvalidArgumentError, match="was used for another request"):
        await kit.create("request-1", segment_spec=pb.SegmentSpec(volume=f"{PROJECT}/volumes/v"))


async def test_old_answers_are_forgotten(kit: Kit) -> None:
    first = await kit.create("request-1")
    async with kit.database.write() as session:
        await session.execute(update(RequestRow).values(create_time=now() - timedelta(days=91)))
    await kit.reconciler.sweep()
    assert (await kit.create("request-1")).name != first.name


async def test_bad_requests_are_refused(kit: Kit) -> None:
    with pytest.raises(InvalidArgumentError, match="no spec"):
        await kit.people.CreateJob(pb.CreateJobRequest(parent=PROJECT), CONTEXT)
    with pytest.raises(NotFoundError, match="project"):
        await kit.people.CreateJob(
            pb.CreateJobRequest(
                parent="projects/none", job=pb.Job(export_spec=pb.ExportSpec(volume="v"))
            ),
            CONTEXT,
        )
    with pytest.raises(NotFoundError, match="no job"):
        await kit.get(pb.Job(name="projects/p/jobs/none"))


async def test_listing_pages_through_the_newest_first(kit: Kit) -> None:
    made = [(await kit.create()).name for _ in range(5)]
    seen: list[str] = []
    token = ""
    while True:
        page = await kit.people.ListJobs(
            pb.ListJobsRequest(parent=PROJECT, page_size=2, page_token=token), CONTEXT
        )
        seen += [job.name for job in page.jobs]
        token = page.next_page_token
        if not token:
            break
    assert seen == made[::-1]


async def test_watching_begins_with_a_snapshot_and_ends_with_the_job(kit: Kit) -> None:
    job = await kit.create()
    states: list[int] = []
    ready = asyncio.Event()

    async def watch() -> None:
        async for answer in kit.people.WatchJob(pb.WatchJobRequest(name=job.name), CONTEXT):
            states.append(answer.job.state)
            ready.set()

    watcher = asyncio.create_task(watch())
    await asyncio.wait_for(ready.wait(), 5)
    await kit.complete(await kit.claim(job))
    await asyncio.wait_for(watcher, 5)
    assert states[0] == pb.JOB_STATE_QUEUED
    assert states[-1] == pb.JOB_STATE_SUCCEEDED


async def test_a_job_shows_the_warnings_of_its_start_and_of_its_work(kit: Kit) -> None:
    export = pb.ExportSpec(volume=f"{PROJECT}/volumes/v")
    job = await kit.create(export_spec=export, warnings=["known at the start"])
    assert list(job.warnings) == ["known at the start"]
    done = await kit.complete(await kit.claim(job), ["met by the work", "known at the start"])
    assert list(done.warnings) == ["known at the start", "met by the work"]
    assert list((await kit.get(job)).warnings) == list(done.warnings)
