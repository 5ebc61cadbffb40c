"""Exports that look in Fiji as they should, under names that say what they are."""

import asyncio

import numpy as np
import pytest
import tifffile

from biosegment.client.errors import InvalidArgumentError, PathNotAllowedError
from biosegment.client.geometry import Box, shape_proto
from biosegment.client.stubs import SyncStubs
from biosegment.runtime.arrays import VolumeArray, build_pyramid
from biosegment.v1 import jobs_pb2, storage_pb2, types_pb2
from tests.ingest.reading_kit import look, read
from tests.ingest.test_ingest_jobs import start_export

NAME = "projects/p/volumes/v"
SIZE = types_pb2.VoxelSize(z=50, y=4.6, x=4.6)
SHAPE = (5, 45, 53)


async def store(platform, data, kind=storage_pb2.VOLUME_KIND_IMAGE):
    """Makes a complete volume of the data."""
    names = {"u1": "UINT8", "u2": "UINT16", "u4": "UINT32", "i1": "INT8", "i2": "INT16"}
    name = names.get(data.dtype.str[1:], "FLOAT32")
    volume = storage_pb2.Volume(
        name=NAME,
        kind=kind,
        data_type=types_pb2.DataType.Value(f"DATA_TYPE_{name}"),
        voxel_size=SIZE,
        levels=[storage_pb2.VolumeLevel(shape=shape_proto(data.shape))],
    )
    await platform.stubs.storage.CreateVolume(storage_pb2.CreateVolumeRequest(volume=volume))

    def fill():
        with SyncStubs(platform.connection) as stubs:
            opened = VolumeArray.open(stubs, NAME)
            opened.write(Box.of_shape(data.shape), data)
            build_pyramid(opened)

    await asyncio.to_thread(fill)
    await platform.stubs.storage.FinishVolume(storage_pb2.FinishVolumeRequest(name=NAME))


def spec(platform, name, form="tiff"):
    path = str(platform.outputs / name)
    return jobs_pb2.ExportSpec(volume=NAME, destination_path=path, format=form)


async def export(platform, name="out.tif"):
    job = (await start_export(platform, spec(platform, name))).job
    await platform.exports(platform.context(job))
    return platform.outputs / name


async def test_labels_have_the_colours_of_their_classes(platform):
    platform.record.classes = [0, 1, 2]
    platform.record.colors = {0: "#000000", 1: "#e69f00"}
    data = np.random.default_rng(0).choice(np.array([0, 1, 2, 255], "u1"), SHAPE)
    await store(platform, data, storage_pb2.VOLUME_KIND_LABELS)
    path = await export(platform)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_imagej
        assert (tiff.imagej_metadata["min"], tiff.imagej_metadata["max"]) == (0, 255)
        for page in tiff.pages:
            assert page.photometric == 3
            table = page.colormap >> 8
            assert table[:, 0].tolist() == [0, 0, 0]
            assert table[:, 1].tolist() == [0xE6, 0x9F, 0x00]
            assert table[:, 2].tolist() == table[:, 255].tolist() == [128, 128, 128]
        np.testing.assert_array_equal(tiff.asarray(), data)
    np.testing.assert_array_equal(read(path, labels=True), data)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
async def test_images_say_what_is_black_and_what_is_white(platform, dtype):
    data = np.random.default_rng(0).integers(1000, 3000, SHAPE).astype(dtype)
    data[2, 3, 4] = 60_000  # A hot pixel.
    await store(platform, data)
    path = await export(platform)
    with tifffile.TiffFile(path) as tiff:
        shown = tiff.imagej_metadata["min"], tiff.imagej_metadata["max"]
    assert 1000 <= shown[0] < 1010
    assert 2990 < shown[1] <= 3000
    np.testing.assert_array_equal(read(path), data)


@pytest.mark.parametrize(
    ("dtype", "constant"),
    [("u1", False), ("i1", False), ("i2", False), ("u4", False), ("u2", True), ("f4", True)],
)
async def test_every_type_comes_back(platform, dtype, constant):
    data = np.random.default_rng(0).integers(0, 100, SHAPE).astype(dtype)
    data = np.full_like(data, 7) if constant else data
    await store(platform, data)
    path = await export(platform)
    np.testing.assert_array_equal(read(path), data)
    found = look(path)
    assert found.voxel_size == (50.0, 4.6, 4.6)
    assert found.dtype == (np.dtype("f4") if dtype == "u4" else data.dtype)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("y.jpg", "tiff"),
        ("y.png", "tiff"),
        ("y.zarr", "tiff"),
        ("y.tif.gz", "tiff"),
        ("y.tif", "ome-zarr"),
        ("y.zip", "ome-zarr"),
    ],
)
async def test_a_name_that_says_something_else_is_refused(platform, name, form):
    await store(platform, np.zeros(SHAPE, "u1"))
    with pytest.raises(InvalidArgumentError, match=r"ends in \.\w+, but would be"):
        await start_export(platform, spec(platform, name, form))


@pytest.mark.parametrize(
    ("name", "form"), [("y", "tiff"), ("y.TIF", "tiff"), ("y.tiff", "tiff"), ("y.zarr", "ome-zarr")]
)
async def test_a_name_that_fits_is_taken(platform, name, form):
    await store(platform, np.zeros(SHAPE, "u1"))
    assert (await start_export(platform, spec(platform, name, form))).job.name


async def test_nothing_is_exported_into_the_platforms_own_folders(platform):
    await store(platform, np.zeros(SHAPE, "u1"))
    (platform.outputs / "link").symlink_to(platform.folder)
    own = jobs_pb2.ExportSpec(
        volume=NAME, destination_path=f"{platform.folder}/p/evil.zarr", format="ome-zarr"
    )
    for wanted in (own, spec(platform, "link/evil.zarr", "ome-zarr")):
        with pytest.raises(PathNotAllowedError, match="belongs to the platform itself"):
            await start_export(platform, wanted)
