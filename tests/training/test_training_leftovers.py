"""Checkpoints of trainings that were cancelled or failed go after a while."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from biosegment.storage.store import Store
from biosegment.training.leftovers import Leftovers
from biosegment.v1 import jobs_pb2
from tests.conftest import Broker
from tests.runtime.platform_kit import Engine, engine
from tests.storage.conftest import serving


@pytest.fixture
async def here(tmp_path: Path, broker: Broker) -> AsyncIterator[tuple[Engine, Store]]:
    store = Store.of_folder(tmp_path / "store")
    async with engine(tmp_path, broker.url) as running, serving(store) as storage:
        running.stubs.storage = storage.stubs.storage
        yield running, store


async def ended(here: tuple[Engine, Store], *, cancel: bool) -> str:
    """A training that ended, or not, and its checkpoint in the store."""
    running, store = here
    job = await running.create(train_spec=jobs_pb2.TrainSpec(model="projects/p/models/m"))
    identity = job.name.rpartition("/")[2]
    for end in ("checkpoint", "logs/1"):
        await store.write(f"p/objects/jobs/{identity}/{end}", b"c")
    if cancel:
        await running.stubs.jobs.CancelJob(jobs_pb2.CancelJobRequest(name=job.name))
    return f"p/objects/jobs/{identity}/"


async def test_a_checkpoint_that_nobody_goes_on_from_is_removed(here: Any) -> None:
    store = here[1]
    cancelled = [await ended(here, cancel=True) for _ in range(3)]
    waiting = await ended(here, cancel=False)
    # It can be retried from its checkpoint for a while.
    await Leftovers(here[0].stubs, keep_hours=1.0).sweep()
    for folder in (*cancelled, waiting):
        assert await store.keys(folder) == ["checkpoint", "logs/1"]
    sweeper = Leftovers(here[0].stubs, keep_hours=0.0)
    await sweeper.sweep()
    for folder in cancelled:
        assert await store.keys(folder) == ["logs/1"]
    assert await store.keys(waiting) == ["checkpoint", "logs/1"]
    await sweeper.sweep()
