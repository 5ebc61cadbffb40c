"""A segmentation that loses blocks says so to every reader, and is whole once they are retried."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from biosegment.cli.app import app
from biosegment.client.errors import FailedPreconditionError
from biosegment.client.geometry import Box
from biosegment.v1 import jobs_pb2, storage_pb2
from tests.integration.conftest import World

PARTIAL, SUCCEEDED = jobs_pb2.JOB_STATE_PARTIALLY_SUCCEEDED, jobs_pb2.JOB_STATE_SUCCEEDED
WRITING, READY = storage_pb2.VOLUME_STATE_WRITING, storage_pb2.VOLUME_STATE_READY
SHAPE = (256, 128, 128)


def stored(world: World, volume: str) -> dict[str, bytes]:
    """Every object of a volume by its key, but for the document with its name and state."""
    folder = world.platform.home.store / "default" / f"{volume.rpartition('/')[2]}.zarr"
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in files if path.parent != folder
    }


@pytest.fixture
def damaged(world: World) -> Iterator[tuple[Path, bytes]]:
    """The data set "lossy", one shard of which is cut short; and the shard as it was."""
    raw = np.concatenate([np.roll(world.raw, 7 * n, axis=2) for n in range(43)])[:256, :128, :128]
    tifffile.imwrite(world.folder / "lossy.tif", raw)
    path = world.folder / "lossy.tif"
    world.client.wait(world.client.import_volume(path, dataset="lossy", voxel_size=(45, 9.2, 9.2)))
    world.client.wait(world.client.segment("unet/1", "lossy", segmentation="calm"))
    folder = world.platform.home.store / "default" / "lossy-raw.zarr" / "0" / "c"
    shard = sorted(path for path in folder.rglob("*") if path.is_file())[1]
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    yield shard, whole
    shard.write_bytes(whole)


def test_lost_blocks_are_named_and_the_volume_reads_as_unfinished_until_they_are_done(
    world: World, damaged: tuple[Path, bytes]
) -> None:
    client, (shard, whole) = world.client, damaged
    job = client.segment("unet/1", "lossy", segmentation="torn", entropy_volume="torn-unsure")
    ended = client.wait(job, timeout=120)
    assert ended.state == PARTIAL
    blocks, volume = ended.blocks, ended.segment_spec.volume
    assert 0 < blocks.quarantined < blocks.total
    assert blocks.done + blocks.quarantined == blocks.total
    # Each of them is named, by its box and its error.
    assert len(ended.partial_failures) == blocks.quarantined
    lost = [Box.from_proto(failure.box) for failure in ended.partial_failures]
    assert all("lossy-raw" in failure.error.message for failure in ended.partial_failures)
    voxels = sum(box.voxels for box in lost)
    assert ended.result.segment_result.voxels == np.prod(SHAPE) - voxels

    # Nobody can take it for complete: not the SDK, not those who would use it, not a viewer.
    for name in (volume, ended.segment_spec.entropy_volume):
        assert client.volume(name).state == WRITING
        with pytest.raises(FailedPreconditionError, match=r"not complete.*job retry"):
            client.read(name)
        with pytest.raises(FailedPreconditionError, match="not complete"):
            client.export(name, world.folder / "torn.tif")
    there = client.read(volume, unfinished=True)
    assert not any(there[box.slices].any() for box in lost)
    with pytest.raises(FailedPreconditionError, match="job retry"):
        client.instances("lossy/torn")
    with pytest.raises(FailedPreconditionError, match="job retry"):
        client.instances(volume)
    document = world.platform.home.store / "default" / f"{volume.rpartition('/')[2]}.zarr"
    assert '"multiscales"' not in (document / "zarr.json").read_text()
    (told,) = (s for s in client.segmentations("lossy") if s.name.endswith("/torn"))
    assert not told.complete
    shown = CliRunner().invoke(
        app,
        ["job", "show", job.name],
        env={"BIOSEGMENT_CONNECTION": str(world.platform.connection_path)},
    )
    assert str(lost[0].start[0]) in shown.stdout
    assert "lossy-raw" in shown.stdout
    assert f"{blocks.quarantined} of {blocks.total} blocks failed" in shown.stderr

    shard.write_bytes(whole)
    mended = client.wait(client.retry(job.name), timeout=120)
    assert (mended.state, mended.blocks.done) == (SUCCEEDED, mended.blocks.total)
    assert not mended.partial_failures
    assert mended.result.segment_result.voxels == np.prod(SHAPE)
    assert {client.volume(v).state for v in (volume, "torn-unsure")} == {READY}
    calm = stored(world, "lossy-calm")
    assert len(calm) > 10
    assert stored(world, volume) == calm
    (told,) = (s for s in client.segmentations("lossy") if s.name.endswith("/torn"))
    assert told.complete
