"""What a segmentation can be asked for, on the running platform."""

from typing import Any, Literal

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from biosegment.client.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from biosegment.client.geometry import Box, shape_proto
from biosegment.client.stubs import SyncStubs
from biosegment.v1 import inference_pb2, jobs_pb2, storage_pb2, types_pb2
from tests.integration.conftest import SHAPE, VOXEL, World


def test_a_mask_says_where_to_look(world: World) -> None:
    client = world.client
    # Sixteen pixels wide voxels, in the sections as thick as they are.
    mask = np.zeros((SHAPE[0], SHAPE[1] // 16, SHAPE[2] // 16), np.uint8)
    mask[1:4, 2:7, 3:8] = 1
    tifffile.imwrite(world.folder / "mask.tif", mask)
    size = (VOXEL[0], VOXEL[1] * 16, VOXEL[2] * 16)
    client.wait(client.import_volume(world.folder / "mask.tif", dataset="tissue", voxel_size=size))
    job = client.wait(
        client.segment("unet/1", "em", segmentation="masked", mask="tissue-raw"), timeout=120
    )
    made = client.read(job.result.segment_result.volume)
    inside = mask.repeat(16, 1).repeat(16, 2) > 0
    direct = client.predict("unet/1", "em", Box.of_shape(SHAPE))
    assert direct[inside].any()
    assert np.array_equal(made, np.where(inside, direct, 0))
    with SyncStubs(client.connection) as stubs:
        request = inference_pb2.StartSegmentationRequest(
            parent="projects/default", spec=job.segment_spec, validate_only=True
        )
        request.spec.ClearField("volume")
        request.spec.ClearField("segmentation")
        assert stubs.inference.StartSegmentation(request).voxels == inside.sum()
    with pytest.raises(FailedPreconditionError, match="changes as people"):
        client.segment("unet/1", "em", mask="em-labels")
    with pytest.raises(FailedPreconditionError, match="does not cover"):
        client.segment("unet/1", "tissue", mask="em-raw")
    with pytest.raises(NotFoundError, match="no volume"):
        client.segment("unet/1", "em", mask="nowhere")


def test_a_mask_that_is_none_is_refused(world: World) -> None:
    client = world.client

    def begun(name: str, data_type: types_pb2.DataType) -> str:
        volume = storage_pb2.Volume(
            name=f"projects/default/volumes/{name}",
            kind=storage_pb2.VOLUME_KIND_IMAGE,
            data_type=data_type,
            voxel_size=types_pb2.VoxelSize(z=VOXEL[0], y=VOXEL[1], x=VOXEL[2]),
            levels=[storage_pb2.VolumeLevel(shape=shape_proto(SHAPE))],
        )
        with SyncStubs(client.connection) as stubs:
            stubs.storage.CreateVolume(storage_pb2.CreateVolumeRequest(volume=volume))
        return name

    half = begun("half-written", types_pb2.DATA_TYPE_UINT8)
    with pytest.raises(FailedPreconditionError, match="not complete"):
        client.segment("unet/1", "em", mask=half)
    fractions = begun("fractions", types_pb2.DATA_TYPE_FLOAT32)
    with SyncStubs(client.connection) as stubs:
        stubs.storage.FinishVolume(
            storage_pb2.FinishVolumeRequest(name=f"projects/default/volumes/{fractions}")
        )
    with pytest.raises(FailedPreconditionError, match="is no mask"):
        client.segment("unet/1", "em", mask=fractions)
    with pytest.raises(InvalidArgumentError, match="does not belong to projects/default"):
        client.segment("unet/1", "em", mask="projects/other/volumes/em-raw")


def test_an_average_over_flips_is_the_same_of_a_flipped_volume(world: World) -> None:
    client = world.client
    tifffile.imwrite(world.folder / "flipped.tif", world.raw[:, ::-1])
    client.wait(
        client.import_volume(world.folder / "flipped.tif", dataset="flipped", voxel_size=VOXEL)
    )

    def made(dataset: str, augment: Literal["flips"] | None) -> NDArray[Any]:
        name = augment or "as-it-is"
        job = client.segment("unet/1", dataset, segmentation=name, augment=augment)
        done = client.wait(job, timeout=120)
        assert done.state == jobs_pb2.JOB_STATE_SUCCEEDED, done.error.message
        return client.read(done.result.segment_result.volume)

    straight, flipped = made("em", "flips"), made("flipped", "flips")
    # But for voxels on the edge between classes, where rounding decides.
    assert np.mean(straight != flipped[:, ::-1]) < 1e-3
    assert np.mean(straight != made("em", None)) > 1e-2
    with pytest.raises(FailedPreconditionError, match="times longer than wide"):
        client.segment("unet/1", "em", three_orientations=True)


def test_padding_and_what_is_outside_of_a_mask_are_skipped_and_counted(world: World) -> None:
    client = world.client
    padded = np.zeros((96, 64, 64), np.uint8)
    padded[:16] = world.raw[0, :64, :64]
    tifffile.imwrite(world.folder / "roomy.tif", padded)
    client.wait(client.import_volume(world.folder / "roomy.tif", dataset="roomy", voxel_size=VOXEL))
    plain = client.wait(client.segment("unet/1", "roomy", segmentation="plain"), timeout=120)
    # Of six blocks five are black, and the first of those (of each worker) is predicted.
    assert plain.blocks.total == 6
    assert plain.result.segment_result.skipped_blocks == plain.blocks.skipped == 4
    mask = (padded > 0).astype(np.uint8)
    tifffile.imwrite(world.folder / "there.tif", mask)
    client.wait(client.import_volume(world.folder / "there.tif", dataset="there", voxel_size=VOXEL))
    job = client.wait(
        client.segment("unet/1", "roomy", segmentation="there", mask="there-raw"), timeout=120
    )
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert job.result.segment_result.skipped_blocks == 5
    made, expected = (client.read(done.result.segment_result.volume) for done in (job, plain))
    assert np.array_equal(made, np.where(mask > 0, expected, 0))
