"""Imports and exports of which the process dies where nobody hears of what it has done."""

import signal
from pathlib import Path

import numpy as np
import pytest
import tifffile

from biosegment.client.errors import NotFoundError
from biosegment.v1 import jobs_pb2, storage_pb2
from tests.integration.conftest import VOXEL, World, wait_until

_TRIES = 5


@pytest.fixture(scope="module")
def large(world: World) -> Path:
    """An image that takes a second or so to read and to write."""
    path = world.folder / "large.tif"
    data = np.random.default_rng(1).integers(0, 255, (96, 512, 512)).astype(np.uint8)
    tifffile.imwrite(path, data)
    return path


def test_an_export_killed_between_its_file_and_its_report(world: World, large: Path) -> None:
    client = world.client
    client.wait(client.import_volume(large, dataset="large", voxel_size=VOXEL))
    raw = client.dataset("large").raw_volume
    for n in range(_TRIES):
        path = world.folder / f"killed-{n}.tif"
        job = client.export(raw, path, format="tiff")
        wait_until(lambda job=job: client.job(job.name).state != jobs_pb2.JOB_STATE_QUEUED)
        world.platform.kill("registry", signal.SIGSTOP)
        try:
            if path.exists():
                continue  # It was faster; the next one may not be.
            wait_until(path.exists)
            inode = path.stat().st_ino
            world.platform.kill("ingest")
        finally:
            world.platform.kill("registry", signal.SIGCONT)
        ended = client.wait(job, timeout=120)
        assert ended.state == jobs_pb2.JOB_STATE_SUCCEEDED
        if ended.attempt == 2:
            break  # With 1 the report was on its way already, and read once the registry went on.
    else:
        pytest.fail(f"in {_TRIES} exports none was killed before it had sent its report")
    assert ended.result.export_result.size_bytes == path.stat().st_size
    assert path.stat().st_ino == inode
    assert np.array_equal(tifffile.imread(path), tifffile.imread(large))
    wait_until(lambda: not list(world.folder.glob(".killed-*")))


def test_an_import_cancelled_while_nobody_holds_it_leaves_no_volume(
    world: World, large: Path
) -> None:
    client, platform = world.client, world.platform
    job = client.import_volume(large, dataset="abandoned", voxel_size=VOXEL)
    volume = job.import_spec.volume

    def state() -> int:
        try:
            return client.volume(volume).state
        except NotFoundError:
            return storage_pb2.VOLUME_STATE_UNSPECIFIED

    wait_until(lambda: state() == storage_pb2.VOLUME_STATE_WRITING)
    killed = platform.process("ingest")
    platform.kill("ingest")
    wait_until(lambda: platform.process("ingest") not in (None, killed))
    # The next one is there, and slow to take the job up.
    platform.kill("ingest", signal.SIGSTOP)
    try:
        wait_until(lambda: client.job(job.name).state == jobs_pb2.JOB_STATE_QUEUED)
        assert client.cancel(job.name).state == jobs_pb2.JOB_STATE_CANCELLED
        assert state() == storage_pb2.VOLUME_STATE_WRITING
    finally:
        platform.kill("ingest", signal.SIGCONT)
    wait_until(lambda: state() == storage_pb2.VOLUME_STATE_UNSPECIFIED)
