"""Faults, caused: kill -9 of workers, of the record and of the broker, in the middle of work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tifffile

from biosegment.client.geometry import Box
from biosegment.v1 import jobs_pb2
from tests.integration.conftest import World, wait_until

RUNNING = jobs_pb2.JOB_STATE_RUNNING
PAUSED = jobs_pb2.JOB_STATE_PAUSED
QUEUED = jobs_pb2.JOB_STATE_QUEUED
SUCCEEDED = jobs_pb2.JOB_STATE_SUCCEEDED


@dataclass(frozen=True, slots=True)
class Long:
    """A segmentation that takes long enough to be disturbed.

    Attributes:
        start: Starts one under a name.
        expected: What it must come to.
    """

    start: Callable[[str], jobs_pb2.Job]
    expected: np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture(scope="module")
def long(world: World) -> Long:
    """Sixteen blocks of sixteen sections each, and a network that takes its time."""
    client = world.client
    raw = np.concatenate([np.roll(world.raw, 7 * n, axis=2) for n in range(43)])[:256, :128, :128]
    tifffile.imwrite(world.folder / "long.tif", raw)
    voxel = client.dataset("em").voxel_size
    job = client.import_volume(
        world.folder / "long.tif", dataset="long", voxel_size=(voxel.z, voxel.y, voxel.x)
    )
    client.wait(job)
    client.create_model("wide", classes=[0, 1], architecture="unet2d-quarter")
    settings = jobs_pb2.TrainingSettings(steps=8, batch_size=2, seed=1)
    settings.patch.z, settings.patch.y, settings.patch.x = 1, 64, 64
    client.wait(client.train("wide", "em", settings=settings))
    expected = client.predict("wide/1", "long", Box.of_shape((256, 128, 128)))
    assert 0 < expected.mean() < 1
    return Long(lambda name: client.segment("wide/1", "long", segmentation=name), expected)


def test_a_killed_training_goes_on_from_its_checkpoint(world: World) -> None:
    client = world.client
    job = world.train(150, checkpoint_steps=10)
    wait_until(lambda: client.job(job.name).progress.done >= 25)
    at_kill = client.job(job.name)
    assert (at_kill.state, at_kill.attempt) == (RUNNING, 1)
    world.platform.kill("training")
    # The record keeps to what it knows: held until the lease lapses, then waiting, then held.
    wait_until(lambda: client.job(job.name).state == QUEUED)
    waiting = client.job(job.name)
    assert not waiting.holder
    assert at_kill.holder in waiting.error.message
    wait_until(lambda: client.job(job.name).attempt == 2)
    assert client.job(job.name).holder not in ("", at_kill.holder)
    ended = client.wait(job, timeout=150)
    assert (ended.state, ended.failures) == (SUCCEEDED, 1)
    assert ended.result.train_result.resumed_from_step >= 20
    assert ended.result.train_result.metrics["steps"] == 150


def test_a_killed_segmentation_ends_as_if_nothing_had_been(world: World, long: Long) -> None:
    client = world.client
    job = long.start("killed")
    wait_until(lambda: client.job(job.name).blocks.done >= 2)
    world.platform.kill("inference")
    now = client.job(job.name)
    assert now.state == RUNNING
    assert now.blocks.done < now.blocks.total
    ended = client.wait(job, timeout=120)
    assert (ended.state, ended.blocks.done) == (SUCCEEDED, ended.blocks.total)
    assert np.array_equal(client.read(ended.result.segment_result.volume), long.expected)


def test_a_paused_segmentation_stays_so_through_a_crash_and_goes_on(
    world: World, long: Long
) -> None:
    client = world.client
    job = long.start("paused")
    wait_until(lambda: client.job(job.name).blocks.done >= 2)
    client.pause(job.name)
    wait_until(lambda: client.job(job.name).state == PAUSED)
    still = client.job(job.name)
    assert 2 <= still.blocks.done < still.blocks.total
    # The worker is free: another job runs to its end meanwhile.
    other = client.wait(client.segment("unet/1", "em", segmentation="meanwhile"), timeout=120)
    assert other.state == SUCCEEDED
    for name in ("inference", "storage", "registry", "nats", "acquisition"):
        world.platform.kill(name)
    wait_until(lambda: set(client.health().values()) == {"serving"}, 120)
    again = client.job(job.name)
    assert (again.state, again.blocks.done) == (PAUSED, still.blocks.done)
    assert client.resume(job.name).state == RUNNING
    ended = client.wait(job, timeout=150)
    assert (ended.state, ended.blocks.done) == (SUCCEEDED, ended.blocks.total)
    assert np.array_equal(client.read(ended.result.segment_result.volume), long.expected)


def test_the_broker_killed_in_the_middle_loses_nothing(world: World, long: Long) -> None:
    client = world.client
    job = long.start("broker")
    wait_until(lambda: client.job(job.name).blocks.done >= 2)
    world.platform.kill("nats")
    # Strokes are taken while the broker is away, and painted when it is back.
    box = Box((4, 32, 32), (5, 48, 48))
    (commit,) = client.commit("em", box, np.ones(box.shape, np.uint8), tool="test")
    ended = client.wait(job, timeout=120)
    assert ended.state == SUCCEEDED
    assert np.array_equal(client.read(ended.result.segment_result.volume), long.expected)
    view = client.dataset("em").label_volume
    wait_until(lambda: client.volume(view).revision >= commit.revision)
    assert (client.read(view, box) == 1).all()


def test_the_record_killed_in_the_middle_is_missed_by_nobody(world: World) -> None:
    client = world.client
    job = world.train(100, checkpoint_steps=50)
    wait_until(lambda: client.job(job.name).progress.done >= 5)
    world.platform.kill("registry")
    ended = client.wait(job, timeout=120)
    assert ended.state == SUCCEEDED


def test_every_service_killed_at_once_and_the_job_still_ends(world: World, long: Long) -> None:
    client = world.client
    job = long.start("all")
    wait_until(lambda: client.job(job.name).blocks.done >= 2)
    for name in ("inference", "storage", "registry", "nats", "acquisition"):
        world.platform.kill(name)
    ended = client.wait(job, timeout=150)
    assert (ended.state, ended.blocks.quarantined) == (SUCCEEDED, 0)
    assert np.array_equal(client.read(ended.result.segment_result.volume), long.expected)
