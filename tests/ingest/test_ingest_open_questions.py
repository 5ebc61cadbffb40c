"""Imports by the service: what files leave open is asked, what was assumed is told with the job."""

import asyncio

import numpy as np
import pytest
import tifffile

from biosegment.client import Connection
from biosegment.client.errors import InvalidArgumentError, PathNotAllowedError
from biosegment.client.grants import grant, key_path, read_key
from biosegment.client.sdk import AsyncClient
from biosegment.v1 import jobs_pb2, types_pb2
from tests.ingest.test_ingest_jobs import RAW, dataset_spec, read, start

DATA = np.random.default_rng(3).integers(0, 200, (6, 45, 53)).astype("u1")


async def imported(platform, spec):
    answer = await start(platform, spec)
    await platform.imports(platform.context(answer.job))
    return answer, (await read(platform, spec.volume))[1]


@pytest.mark.parametrize("dtype", ["i1", "i2", "f4", "?"])
async def test_types_beyond_unsigned_ones(platform, dtype):
    path = platform.files / "raw.tif"
    data = (DATA.astype("i4") - 100).astype(dtype) if dtype != "?" else DATA > 100
    tifffile.imwrite(path, data, photometric="minisblack")
    answer, voxels = await imported(platform, dataset_spec(path))
    np.testing.assert_array_equal(voxels, data)
    assert not answer.job.warnings


async def test_what_was_assumed_is_told_with_the_job(platform):
    path = platform.files / "raw.tif"
    tifffile.imwrite(path, 255 - DATA, photometric="miniswhite")
    answer, voxels = await imported(platform, dataset_spec(path))
    np.testing.assert_array_equal(voxels, DATA)
    assert "white-is-zero" in answer.job.warnings[0]
    assert list(answer.warnings) == list(answer.job.warnings)


async def test_a_voxel_size_that_differs_from_the_files_is_told_before_anything_is_made(platform):
    path = platform.files / "raw.tif"
    metadata = {"axes": "ZYX", "spacing": 0.05, "unit": "um"}
    tifffile.imwrite(path, DATA, imagej=True, resolution=(250, 250), metadata=metadata)
    size = types_pb2.VoxelSize(z=4, y=4, x=50)
    spec = dataset_spec(path, voxel_size=size)
    answer = await start(platform, spec, validate_only=True)
    assert "looks like x,y,z" in answer.warnings[0]
    assert answer.preview.voxel_size == size


async def test_gaps_are_asked_about_and_filled(platform):
    for n in (0, 1, 2, 4, 5):
        tifffile.imwrite(platform.files / f"s{n}.tif", DATA[n])
    # The folder is the root itself.
    with pytest.raises(InvalidArgumentError, match="s3 is missing"):
        await start(platform, dataset_spec(platform.files))
    reading = jobs_pb2.FileReading(gaps=jobs_pb2.GAP_POLICY_FILL)
    answer, voxels = await imported(platform, dataset_spec(platform.files, reading=reading))
    np.testing.assert_array_equal(voxels[3], 0)
    np.testing.assert_array_equal(np.delete(voxels, 3, 0), np.delete(DATA, 3, 0))
    assert answer.job.import_spec.reading == reading
    assert "s3 is missing" in answer.job.warnings[0]


@pytest.mark.parametrize(
    ("reading", "says"),
    [
        ({"axes": "XYZ"}, "--axes"),
        ({"axes": "ZZYX"}, "--axes"),
        ({"axes": "Z" * 50}, "--axes"),
        ({"image": -1}, "--image -1"),
        ({"image": 7}, "no --image 7"),
        ({"gaps": 9}, "--gaps"),
        ({"files": "../*"}, "--files"),
    ],
)
async def test_answers_that_make_no_sense_are_refused(platform, reading, says):
    path = platform.files / "raw.tif"
    tifffile.imwrite(path, DATA)
    spec = dataset_spec(path, reading=jobs_pb2.FileReading(**reading))
    with pytest.raises(InvalidArgumentError, match=says):
        await start(platform, spec)


async def test_a_first_page_that_cannot_be_taken_is_refused_before_there_is_a_job(platform):
    path = platform.files / "raw.tif"
    for data in (np.full((2, 5, 6), np.nan, "f4"), np.eye(3, dtype="u1") * np.ones((2, 5, 3, 3))):
        photometric = "minisblack" if data.ndim == 3 else "rgb"
        tifffile.imwrite(
            path, data.astype("f4" if data.ndim == 3 else "u1"), photometric=photometric
        )
        with pytest.raises(InvalidArgumentError, match=r"Page 1 .* (no numbers|coloured)"):
            await start(platform, dataset_spec(path))
    assert platform.record.jobs == []


async def test_a_file_that_changes_between_look_and_job_is_looked_at_again(platform):
    path = platform.files / "raw.tif"
    tifffile.imwrite(path, DATA)
    job = (await start(platform, dataset_spec(path))).job
    tifffile.imwrite(path, 255 - DATA, photometric="miniswhite")
    await platform.imports(platform.context(job))
    np.testing.assert_array_equal((await read(platform, RAW))[1], DATA)


class TestOwnFiles:
    """Files outside the roots, named by whom they belong to."""

    @pytest.fixture
    def outside(self, platform):
        path = platform.files.parent / "elsewhere" / "raw.tif"
        path.parent.mkdir()
        tifffile.imwrite(path, DATA)
        return path

    @pytest.fixture
    def connection(self, platform):
        return platform.files.parent / "connection.json"

    async def test_are_imported_with_the_proof_of_the_key(self, platform, outside, connection):
        key = read_key(connection)
        spec = dataset_spec(outside, grant=grant(key, outside, RAW))
        _, voxels = await imported(platform, spec)
        np.testing.assert_array_equal(voxels, DATA)

    async def test_and_folders_too(self, platform, outside, connection):
        key = read_key(connection)
        spec = dataset_spec(outside.parent, grant=grant(key, outside.parent, RAW))
        _, voxels = await imported(platform, spec)
        np.testing.assert_array_equal(voxels, DATA)

    async def test_are_refused_without_or_with_a_proof_of_something_else(
        self, platform, outside, connection
    ):
        key = read_key(connection)
        link = outside.with_name("link.tif")
        link.symlink_to(outside)
        other = outside.with_name("other.tif")
        for given in (
            "",
            "0" * 64,
            grant(key, outside, "projects/p/volumes/x"),
            grant(key, other, RAW),
            grant(key, link, RAW),
            grant(key, outside.parent, RAW),
            grant(b"token".ljust(32), outside, RAW),
        ):
            with pytest.raises(PathNotAllowedError, match="--import-root"):
                await start(platform, dataset_spec(outside, grant=given))
        with pytest.raises(PathNotAllowedError, match="--import-root"):
            await start(platform, dataset_spec(link, grant=grant(key, link, RAW)))

    async def test_a_link_in_a_granted_folder_leads_no_further(self, platform, outside, connection):
        tifffile.imwrite(platform.files.parent / "secret.tif", DATA[0])
        outside.unlink()
        (outside.parent / "s1.tif").symlink_to(platform.files.parent / "secret.tif")
        given = grant(read_key(connection), outside.parent, RAW)
        with pytest.raises(PathNotAllowedError, match="--import-root"):
            await start(platform, dataset_spec(outside.parent, grant=given))

    async def test_the_sdk_proves_them_only_when_told(self, platform, outside, connection):
        async with AsyncClient(Connection.load(connection), project="p") as client:
            with pytest.raises(PathNotAllowedError, match="--import-root"):
                await client.import_volume(outside, dataset="d", voxel_size=(50, 4, 4))
            job = await client.import_volume(
                outside, dataset="d", voxel_size=(50, 4, 4), own_file=True
            )
            assert job.import_spec.source_path == str(outside)

    async def test_who_has_the_token_alone_proves_nothing(self, platform, outside, connection):
        # A connection file that was copied to another machine, or another user's.
        copied = connection.parent / "copied" / "connection.json"
        copied.parent.mkdir()
        copied.write_bytes(connection.read_bytes())
        unreadable = connection.parent / "unreadable" / "connection.json"
        unreadable.parent.mkdir()
        unreadable.write_bytes(connection.read_bytes())
        key_path(unreadable).write_bytes(key_path(connection).read_bytes())
        await asyncio.to_thread(key_path(unreadable).chmod, 0o644)
        for path in (copied, unreadable):
            async with AsyncClient(Connection.load(path), project="p") as client:
                with pytest.raises(PathNotAllowedError, match="--import-root"):
                    await client.import_volume(
                        outside, dataset="d", voxel_size=(50, 4, 4), own_file=True
                    )
