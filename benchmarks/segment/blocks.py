"""What a block costs besides reading, network and writing, in a job of a million blocks.

The platform is real, and so is the worker, but for one thing: what its child does with a block is
nothing. The job is a segmentation of ten teravoxels, started as any other.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.segment import subject
from biosegment.cli.up.platform import Options, Platform
from biosegment.client import Client
from biosegment.client.geometry import ZYX
from biosegment.client.stubs import AsyncStubs
from biosegment.inference.calls import Calls
from biosegment.inference.forwards import Forwards
from biosegment.inference.worker import SegmentHandler
from biosegment.phantom import generate
from biosegment.runtime.bus import Bus
from biosegment.runtime.child import Child, ChildContext
from biosegment.runtime.worker import BlocksContext, BlockWorker, JobWorker
from biosegment.v1 import jobs_pb2

# 1000 × 32 × 32 blocks of 16 × 768 × 768.
MILLION: ZYX = (16_000, 24_576, 24_576)
_SETTLE_SECONDS = 3.0
_DEADLINE_SECONDS = 120.0


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Runs the part; the figures."""
    seconds = 5.0 if given.quick else 30.0
    phantom = generate(shape=(1, 128, 128), voxel_size=subject.VOXEL, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        # The service takes no segmentations: the worker below does.
        options = Options(
            home=home / "home",
            import_roots=[home],
            environment={"BIOSEGMENT_KINDS": "evaluate,instances"},
        )
        with Platform(options) as platform, Client(platform.connection) as client:
            subject.imported(client, home, "em", phantom.raw)
            version = subject.trained(
                client,
                "em",
                phantom.labels,
                rows=128,
                steps=2,
                parameters={"feature_maps": 1, "levels": 1},
                crop=64,
            )
            subject.unstored(platform, "million", MILLION)
            with _worker(platform):
                return _measured(platform, client, version, seconds)


def _measured(platform: Platform, client: Client, version: str, seconds: float) -> dict[str, Any]:
    record = _record_bytes(platform)
    before = _memory(platform)
    begin = time.perf_counter()
    job = client.segment(version, "million", segmentation="million")
    while not (now := client.job(job.name)).blocks.done:
        assert time.perf_counter() - begin < _DEADLINE_SECONDS, "no block was done"
        time.sleep(0.02)
    started = time.perf_counter() - begin
    begun = _record_bytes(platform)
    time.sleep(_SETTLE_SECONDS)
    first, at = client.job(job.name).blocks.done, time.perf_counter()
    time.sleep(seconds)
    now = client.job(job.name)
    per_block = (time.perf_counter() - at) / (now.blocks.done - first)
    print(f"{now.blocks.done} of {now.blocks.total} blocks, {1e3 * per_block:.2f} ms each")
    figures = {
        "blocks": now.blocks.total,
        "blocks_start_seconds": round(started, 2),
        "blocks_record_bytes_at_start": begun - record,
        "blocks_done": now.blocks.done,
        "blocks_record_bytes_grown": _record_bytes(platform) - record,
        "blocks_memory_grown_mb": {
            name: (size - before[name]) >> 20 for name, size in _memory(platform).items()
        },
        "block_overhead_ms": round(1e3 * per_block, 3),
    }
    client.cancel(job.name)
    deadline = time.perf_counter() + _DEADLINE_SECONDS
    while client.job(job.name).state != jobs_pb2.JOB_STATE_CANCELLED:
        assert time.perf_counter() < deadline, "the job was not cancelled"
        time.sleep(0.1)
    return figures


def _record_bytes(platform: Platform) -> int:
    """What the record takes on disk, its log of changes included."""
    database = platform.home.database
    return sum(path.stat().st_size for path in database.parent.glob(f"{database.name}*"))


def _memory(platform: Platform) -> dict[str, int]:
    """Resident memory of the processes that a waiting block might cost some, in bytes."""
    found = {}
    for name in ("nats", "registry"):
        pid = platform.process(name)
        assert pid is not None
        found[name] = psutil.Process(pid).memory_info().rss
    return found


@contextmanager
def _worker(platform: Platform) -> Iterator[None]:
    """Takes segmentations of the platform, with a child that does nothing about their blocks."""
    import threading

    loop = asyncio.new_event_loop()
    stopping = asyncio.Event()
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(_work(platform, stopping)), daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(60)


async def _work(platform: Platform, stopping: asyncio.Event) -> None:
    pid = platform.process("inference")
    assert pid is not None
    bus = Bus(psutil.Process(pid).environ()["BIOSEGMENT_NATS_URL"])
    await bus.connect()
    child = Child("idle")
    try:
        async with AsyncStubs(platform.connection) as stubs:
            calls = Calls(child, platform.connection_path, Forwards())
            jobs = JobWorker("segment", bus, stubs, SegmentHandler(calls), host="benchmark")
            runs = BlockWorker("segment", bus, stubs, _Nothing(child), host="benchmark")
            await asyncio.gather(jobs.run(stopping), runs.run(stopping))
    finally:
        await child.close()
        await bus.close()


class _Nothing:
    """In place of ``BlocksHandler``: asks the child, which reports every block at once."""

    def __init__(self, child: Child) -> None:
        self._child = child

    async def __call__(self, ctx: BlocksContext) -> None:
        await self._child.run(
            f"{__name__}:nothing",
            on_report=ctx.done,
            cancelled=ctx.cancelled,
            blocks=[block.index for block in ctx.blocks],
        )


def nothing(context: ChildContext, *, blocks: list[int]) -> None:
    """What the child does with a run of blocks."""
    for block in blocks:
        context.report(block)
