"""Random histories of one blocked job against what must hold at every moment.

A plain random walk from a printed seed rather than a hypothesis state machine:
most calls are refused in most states, and a walk can be weighted towards the
ones that get somewhere.
"""

import random
import tempfile
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest

from biosegment.client.errors import DomainError, LeaseLostError
from biosegment.registry.jobs import states
from biosegment.v1 import jobs_pb2 as pb
from tests.registry.jobs_kit import Kit, job_kit

BLOCKS, RUN = 9, 2
STEPS = 150


class History:
    """What a random crowd of people and workers did, and what they know of it."""

    def __init__(self, kit: Kit, job: pb.Job, rng: random.Random) -> None:
        self.kit = kit
        self.job = job
        self.rng = rng
        self.claims: list[pb.Job] = []
        self.runs: list[tuple[int, pb.ClaimBlocksResponse]] = []
        self.stored: set[int] = set()
        self.ends = 0
        self.stale_writes = 0

    async def step(self) -> None:
        before = await self.kit.get(self.job)
        acts = {self.claim: 3, self.claim_run: 8, self.lapse: 1}
        if before.state in states.TERMINAL:
            acts[self.retry] = 8
        elif self.rng.random() < 0.05:
            acts = {self.cancel: 1}
        elif self.rng.random() < 0.1:
            acts = {self.pause: 1}
        elif before.state in states.HALTED:
            acts[self.resume] = 6
        if self.claims:
            acts[self.work] = 6
        if self.runs:
            acts[self.settle] = 12
        await self.rng.choices(list(acts), list(acts.values()))[0]()
        await self.check()

    async def attempt(self, call: Awaitable[Any]) -> Any:
        try:
            return await call
        except DomainError as error:
            return error

    def recent(self, items: list[Any]) -> Any:
        """Mostly the newest, sometimes one of long ago."""
        return items[-1] if self.rng.random() < 0.6 else self.rng.choice(items)

    async def claim(self) -> None:
        before = await self.kit.get(self.job)
        answer = await self.attempt(self.kit.claim(self.job))
        if isinstance(answer, pb.Job):
            assert not before.holder
            assert answer.attempt == before.attempt + 1
            self.claims.append(answer)

    async def work(self) -> None:
        claim = self.recent(self.claims)
        before = await self.kit.get(self.job)
        finishes = claim.stage == pb.JOB_STAGE_FINISH
        go_on = self.kit.complete if finishes else self.plan
        act = self.rng.choice([go_on, go_on, go_on, self.kit.fail, self.kit.beat])
        answer = await self.attempt(act(claim))
        if before.attempt != claim.attempt:
            assert isinstance(answer, LeaseLostError)
            self.stale_writes += 1

    async def plan(self, claim: pb.Job) -> pb.Job:
        return await self.kit.plan(claim, BLOCKS, RUN)

    async def claim_run(self) -> None:
        free = await self.kit.runs(self.job)
        first = self.rng.choice(free) if free else 0
        answer = await self.attempt(self.kit.claim_blocks(self.job, first))
        if isinstance(answer, pb.ClaimBlocksResponse):
            # A block that is stored is never handed out again.
            assert not self.stored & {block.index for block in answer.blocks}
            self.runs.append((first, answer))

    async def settle(self) -> None:
        first, claim = self.recent(self.runs)
        held = {(f, c.attempt) for f, c in self.runs}
        newest = max(attempt for f, attempt in held if f == first)
        block = self.rng.choice([block.index for block in claim.blocks])
        good = self.rng.random() < 0.8
        done, failed = ([block], []) if good else ([], [block])
        answer = await self.attempt(
            self.kit.settle(claim, first, done, failed, self.rng.random() < 0.5)
        )
        if claim.attempt < newest and block not in self.stored:
            assert isinstance(answer, LeaseLostError)
            self.stale_writes += 1
        if good and not isinstance(answer, DomainError):
            self.stored.add(block)

    async def lapse(self) -> None:
        await self.kit.lapse()

    async def cancel(self) -> None:
        await self.kit.cancel(self.job)

    async def pause(self) -> None:
        await self.attempt(self.kit.pause(self.job))

    async def resume(self) -> None:
        before = await self.kit.get(self.job)
        after = await self.attempt(self.kit.resume(self.job))
        assert isinstance(after, pb.Job)
        assert (before.attempt, before.blocks.done) == (after.attempt, after.blocks.done)

    async def retry(self) -> None:
        await self.attempt(self.kit.retry(self.job))

    async def check(self) -> None:
        job = await self.kit.get(self.job)
        ended = job.state in states.TERMINAL
        assert ended == job.HasField("end_time")
        if ended:
            assert not job.holder
            assert job.blocks.frontier == 0
        if job.state == pb.JOB_STATE_PAUSED:
            # Nobody works on it, and nobody can begin to.
            assert not job.holder
            assert job.blocks.frontier == len(await self.kit.runs(job))
            assert isinstance(await self.attempt(self.kit.claim(job)), DomainError)
            for first in await self.kit.runs(job):
                assert isinstance(
                    await self.attempt(self.kit.claim_blocks(job, first)), DomainError
                )
        if job.HasField("blocks"):
            assert job.blocks.done == len(self.stored)
        if job.state == pb.JOB_STATE_SUCCEEDED:
            assert self.stored == set(range(BLOCKS))
        if job.state == pb.JOB_STATE_PARTIALLY_SUCCEEDED:
            assert job.blocks.quarantined > 0
        told = await self.kit.sent("biosegment.events.job.ended")
        assert told in (self.ends, self.ends + 1)
        assert told == self.ends or ended
        self.ends = told


async def walk(seed: int, folder: Path) -> History:
    limits = {"frontier_runs": 2, "block_failures": 2, "max_failures": 6}
    async with job_kit(folder, **limits) as kit:
        job = await kit.create(instances_spec=pb.InstancesSpec(volume="projects/p/volumes/v"))
        history = History(kit, job, random.Random(seed))
        for _ in range(STEPS):
            await history.step()
        return history


@pytest.fixture
def fast_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of commits, each of them synced."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else tmp_path) as folder:
        yield Path(folder)


async def test_the_record_is_true_throughout(fast_folder: Path) -> None:
    stale_writes = 0
    for seed in range(6):
        print("seed", seed)
        (fast_folder / str(seed)).mkdir()
        history = await walk(seed, fast_folder / str(seed))
        assert history.stored  # The walk got somewhere.
        stale_writes += history.stale_writes
    assert stale_writes > 10  # Late workers tried, and were refused.
