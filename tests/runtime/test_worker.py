"""Workers on a real broker and a real record: wake-ups, leases, drains, crashes of the broker."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from biosegment.client.errors import InvalidArgumentError, UnavailableError
from biosegment.runtime import worker
from biosegment.runtime.provision import provision
from biosegment.runtime.worker import BlockPlan, BlocksContext, BlockWorker, JobContext, JobWorker
from biosegment.v1 import jobs_pb2, types_pb2
from tests.conftest import Broker
from tests.runtime.platform_kit import Engine, engine

EXPORT = {"export_spec": jobs_pb2.ExportSpec(volume="projects/p/volumes/v")}
DONE = jobs_pb2.JobResult(export_result=jobs_pb2.ExportResult(path="/x"))


@pytest.fixture(autouse=True)
def _quick_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "HEARTBEAT_SECONDS", 0.1)


@pytest.fixture
async def running(tmp_path: Path, own_broker: Broker) -> AsyncIterator[Engine]:
    async with engine(tmp_path, own_broker.url) as made:
        yield made


def job_worker(running: Engine, handler: Any, kind: str = "export") -> JobWorker:
    return JobWorker(kind, running.bus, running.stubs, handler, host="test")


async def test_a_job_reaches_its_worker_and_ends(running: Engine) -> None:
    async def handle(context: JobContext) -> jobs_pb2.JobResult:
        context.progress(3, 7, "pages")
        return DONE

    running.start(job_worker(running, handle))
    ended = await running.ended(await running.create(**EXPORT))
    assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert ended.result.export_result.path == "/x"


async def test_a_refusal_fails_the_job_and_trouble_is_tried_again(running: Engine) -> None:
    tries: list[int] = []

    async def handle(context: JobContext) -> jobs_pb2.JobResult:
        tries.append(context.job.attempt)
        if len(tries) == 1:
            raise UnavailableError("The disk is away.")
        if len(tries) == 2:
            raise ZeroDivisionError
        raise InvalidArgumentError("This will never do.")

    running.start(job_worker(running, handle))
    ended = await running.ended(await running.create(**EXPORT))
    assert tries == [1, 2, 3]
    assert ended.state == jobs_pb2.JOB_STATE_FAILED
    assert ended.error.message == "This will never do."


async def test_cancellation_reaches_the_handler(running: Engine) -> None:
    started = asyncio.Event()

    async def handle(context: JobContext) -> jobs_pb2.JobResult:
        started.set()
        await context.cancelled.wait()
        from biosegment.client.errors import JobCancelledError

        raise JobCancelledError("Stopped.")

    running.start(job_worker(running, handle))
    job = await running.create(**EXPORT)
    await asyncio.wait_for(started.wait(), 10)
    await running.stubs.jobs.CancelJob(jobs_pb2.CancelJobRequest(name=job.name))
    assert (await running.ended(job)).state == jobs_pb2.JOB_STATE_CANCELLED


async def test_a_worker_that_loses_its_lease_is_stopped(running: Engine, eventually: Any) -> None:
    begun: list[int] = []
    cut: list[int] = []

    async def handle(context: JobContext) -> jobs_pb2.JobResult:
        begun.append(context.job.attempt)
        if context.job.attempt == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cut.append(1)
                raise
        return DONE

    running.start(job_worker(running, handle))
    job = await running.create(**EXPORT)

    async def begins() -> bool:
        return begun == [1]

    await eventually(begins)
    # Somebody else reports a failure with the worker's own attempt: the hold is over.
    await running.stubs.workers.FailJob(jobs_pb2.FailJobRequest(job=job.name, attempt=1))
    assert (await running.ended(job)).state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert (begun, cut) == ([1, 2], [1])


async def test_a_drained_worker_hands_its_job_on_without_counting_a_failure(
    running: Engine, eventually: Any
) -> None:
    started = asyncio.Event()

    async def hold(context: JobContext) -> jobs_pb2.JobResult:
        from biosegment.client.errors import JobCancelledError

        started.set()
        await context.cancelled.wait()
        raise JobCancelledError("Draining.")

    async def finish(context: JobContext) -> jobs_pb2.JobResult:
        return DONE

    draining = asyncio.Event()
    first = asyncio.create_task(job_worker(running, hold).run(draining))
    job = await running.create(**EXPORT)
    await asyncio.wait_for(started.wait(), 10)
    draining.set()
    await asyncio.wait_for(first, 10)
    running.start(job_worker(running, finish))
    ended = await running.ended(job)
    assert (ended.state, ended.failures, ended.attempt) == (jobs_pb2.JOB_STATE_SUCCEEDED, 0, 2)


async def test_blocks_are_worked_off_by_several_workers(running: Engine, eventually: Any) -> None:
    seen: list[int] = []

    async def plan_or_finish(context: JobContext) -> jobs_pb2.JobResult | BlockPlan:
        if context.job.stage == jobs_pb2.JOB_STAGE_FINISH:
            return jobs_pb2.JobResult(export_result=jobs_pb2.ExportResult(path="/all"))
        return BlockPlan(
            jobs_pb2.PlanBlocksRequest(
                box=types_pb2.Box(z_stop=23, y_stop=1, x_stop=1),
                block=types_pb2.Shape(z=1, y=1, x=1),
                run_length=3,
            )
        )

    async def work(context: BlocksContext) -> None:
        for block in context.blocks:
            seen.append(block.index)
            if block.index == 5 and seen.count(5) == 1:
                context.failed(block, UnavailableError("Once is nothing."))
            else:
                context.done(block.index)

    # Blocks of a kind travel on their own subject; segment is the kind that has them.
    running.start(job_worker(running, plan_or_finish, "segment"))
    for _ in range(2):
        running.start(BlockWorker("segment", running.bus, running.stubs, work, host="test"))
    spec = jobs_pb2.SegmentSpec(
        dataset="projects/p/datasets/d",
        version="projects/p/models/m/versions/1",
        volume="projects/p/volumes/s",
        segmentation="projects/p/datasets/d/segmentations/s",
    )
    job = await running.create(segment_spec=spec)

    async def worked_off() -> bool:
        return (await running.get(job)).stage == jobs_pb2.JOB_STAGE_FINISH

    await eventually(worked_off)
    now = await running.get(job)
    assert (now.blocks.done, now.blocks.quarantined) == (23, 0)
    assert sorted(set(seen)) == list(range(23))


async def test_a_pause_ends_between_two_blocks_and_frees_the_worker(
    running: Engine, eventually: Any
) -> None:
    begun: list[int] = []
    contexts: list[BlocksContext] = []
    go_on = asyncio.Event()

    async def plan_once(context: JobContext) -> BlockPlan:
        # A plan handed in at FINISH would begin another phase of blocks.
        if context.job.stage == jobs_pb2.JOB_STAGE_FINISH:
            raise InvalidArgumentError("The blocks are all there is to this job.")
        return BlockPlan(
            jobs_pb2.PlanBlocksRequest(
                box=types_pb2.Box(z_stop=6, y_stop=1, x_stop=1),
                block=types_pb2.Shape(z=1, y=1, x=1),
                run_length=3,
            )
        )

    async def work(context: BlocksContext) -> None:
        from biosegment.client.errors import JobCancelledError

        contexts.append(context)
        for block in context.blocks:
            if context.cancelled.is_set():
                raise JobCancelledError("Stopped.")
            begun.append(block.index)
            await go_on.wait()
            context.done(block.index)

    running.start(job_worker(running, plan_once, "instances"))
    running.start(BlockWorker("instances", running.bus, running.stubs, work, host="test"))
    spec = jobs_pb2.InstancesSpec(volume="projects/p/volumes/v")
    job = await running.create(instances_spec=spec)

    async def one_is_begun() -> bool:
        return begun == [0]

    async def heard() -> bool:
        return contexts[0].pausing

    async def paused() -> bool:
        return (await running.get(job)).state == jobs_pb2.JOB_STATE_PAUSED

    async def worked_off() -> bool:
        return (await running.get(job)).stage == jobs_pb2.JOB_STAGE_FINISH

    await eventually(one_is_begun)
    answer = await running.stubs.jobs.PauseJob(jobs_pb2.PauseJobRequest(name=job.name))
    assert answer.job.state == jobs_pb2.JOB_STATE_PAUSING
    # The worker hears of it with a heartbeat, while it has its block in hand.
    await eventually(heard)
    go_on.set()
    await eventually(paused)
    assert (begun, (await running.get(job)).blocks.done) == ([0], 1)
    await running.stubs.jobs.ResumeJob(jobs_pb2.ResumeJobRequest(name=job.name))
    await eventually(worked_off)
    assert sorted(begun) == list(range(6))


async def test_a_paused_training_is_let_go_and_taken_up_again(running: Engine) -> None:
    started = asyncio.Event()

    async def train(context: JobContext) -> jobs_pb2.JobResult:
        from biosegment.client.errors import JobCancelledError

        started.set()
        await context.cancelled.wait()
        raise JobCancelledError("Its checkpoint is kept.")

    running.start(job_worker(running, train, "train"))
    job = await running.create(train_spec=jobs_pb2.TrainSpec(model="projects/p/models/m"))
    for attempt in (1, 2):
        await asyncio.wait_for(started.wait(), 20)
        started.clear()
        await running.stubs.jobs.PauseJob(jobs_pb2.PauseJobRequest(name=job.name))
        async for answer in running.stubs.jobs.WatchJob(jobs_pb2.WatchJobRequest(name=job.name)):
            if answer.job.state == jobs_pb2.JOB_STATE_PAUSED:
                break
        assert (answer.job.attempt, answer.job.failures) == (attempt, 0)
        await running.stubs.jobs.ResumeJob(jobs_pb2.ResumeJobRequest(name=job.name))


async def test_the_broker_may_die_in_the_middle(running: Engine, own_broker: Broker) -> None:
    async def handle(context: JobContext) -> jobs_pb2.JobResult:
        return DONE

    own_broker.kill()
    jobs = [await running.create(**EXPORT) for _ in range(3)]
    running.start(job_worker(running, handle))
    own_broker.start()
    for job in jobs:
        assert (await running.ended(job)).state == jobs_pb2.JOB_STATE_SUCCEEDED


async def test_a_broker_that_lost_everything_is_told_again(
    running: Engine,
    own_broker: Broker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Any,
) -> None:
    from biosegment.registry.jobs import reconciler

    async def handle(context: JobContext) -> jobs_pb2.JobResult:
        return DONE

    jobs = [await running.create(**EXPORT) for _ in range(3)]

    async def on_the_bus() -> bool:
        info = await running.bus.js.consumer_info("JOBS", "jobs-export")
        return info.num_pending == 3

    await eventually(on_the_bus)
    own_broker.kill()
    shutil.rmtree(tmp_path / "nats" / "js")
    own_broker.start()

    async def provisioned() -> bool:
        try:
            await provision(running.bus.js)
        except Exception:  # noqa: BLE001 - the connection is still coming back
            return False
        return True

    await eventually(provisioned)
    monkeypatch.setattr(reconciler, "_SETTLING_SECONDS", 0.0)
    running.start(job_worker(running, handle))
    for job in jobs:
        assert (await running.ended(job)).state == jobs_pb2.JOB_STATE_SUCCEEDED
