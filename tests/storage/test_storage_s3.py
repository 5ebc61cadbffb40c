"""The storage service on an S3-compatible server, as on a folder."""

import asyncio
import json

import numpy as np
import pytest

from biosegment.client.errors import NotFoundError
from biosegment.client.geometry import Box
from biosegment.client.stubs import SyncStubs
from biosegment.runtime import objects
from biosegment.runtime.arrays import VolumeArray, build_pyramid
from biosegment.storage import address
from biosegment.storage.store import Store
from biosegment.v1 import storage_pb2 as pb
from tests.s3_kit import PAGE_KEYS, S3
from tests.storage.conftest import serving

NAME = "projects/p/volumes/v"
SHAPE = (9, 130, 1030)
pytestmark = pytest.mark.usefixtures("s3_keys")


def store_in(s3: S3, bucket: str, prefix: str = "lab/bio") -> Store:
    return Store(address.base_spec(f"s3://{s3.bucket(bucket)}/{prefix}", s3.endpoint, ""))


def fill(connection, data):
    """As a worker fills a volume: level 0, then the pyramid. All levels as they read then."""
    with SyncStubs(connection) as stubs:
        volume = VolumeArray.open(stubs, NAME)
        volume.write(Box.of_shape(data.shape), data)
        build_pyramid(volume)
        levels = range(len(volume.volume.levels))
        return [volume.read(Box.of_shape(volume.shape(n), n)) for n in levels]


@pytest.mark.parametrize("layout", [pb.VOLUME_FORMAT_OME_ZARR, pb.VOLUME_FORMAT_N5])
async def test_a_volume_is_the_same_as_in_a_folder(platform, describe, s3, layout):
    asked = describe(shape=SHAPE, format=layout, voxel_size=(10, 10, 10))
    data = np.random.default_rng(5).integers(0, 255, SHAPE).astype("u1")
    bucket = f"same-{layout}"
    found = []
    async with serving(store_in(s3, bucket)) as remote:
        for where in (platform, remote):
            await where.stubs.storage.CreateVolume(pb.CreateVolumeRequest(volume=asked))
            found.append(await asyncio.to_thread(fill, where.connection, data))
            done = await where.stubs.storage.FinishVolume(pb.FinishVolumeRequest(name=NAME))
            assert done.volume.state == pb.VOLUME_STATE_READY
        extension = "n5" if layout == pb.VOLUME_FORMAT_N5 else "zarr"
        assert done.volume.uri == f"s3://{bucket}/lab/bio/p/v.{extension}/"
        for near, far in zip(*found, strict=True):
            np.testing.assert_array_equal(near, far)
        # Every object but the identity is the same, byte by byte.
        folder = platform.folder
        keys = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        assert sorted(s3.keys(bucket)) == [f"lab/bio/{key}" for key in keys]
        for key in keys:
            if not key.startswith(".biosegment/"):
                assert s3.get(bucket, f"lab/bio/{key}") == (folder / key).read_bytes(), key


@pytest.mark.parametrize("access", ["direct", "stream"])
async def test_objects_and_regions_near_and_far(describe, s3, access, monkeypatch):
    monkeypatch.setenv("BIOSEGMENT_STORE_ACCESS", access)
    data = np.random.default_rng(6).integers(0, 255, (5, 100, 100)).astype("u1")
    box = Box.at((1, 2, 3), data.shape)

    def work(connection):
        with SyncStubs(connection) as stubs:
            volume = VolumeArray.open(stubs, NAME)
            assert volume.direct is (access == "direct")
            volume.write(box, data)
            objects.write(stubs, "projects/p/objects/models/m/w", b"w" * (3 << 20))
            assert objects.read(stubs, "projects/p/objects/models/m/w") == b"w" * (3 << 20)
            objects.delete(stubs, "projects/p/objects/models/m/w")
            with pytest.raises(NotFoundError):
                objects.read(stubs, "projects/p/objects/models/m/w")
            return volume.read(box)

    async with serving(store_in(s3, f"both-{access}")) as remote:
        await remote.stubs.storage.CreateVolume(pb.CreateVolumeRequest(volume=describe()))
        np.testing.assert_array_equal(await asyncio.to_thread(work, remote.connection), data)


async def test_more_keys_than_one_page_of_a_listing(s3):
    store, count = store_in(s3, "many", ""), 3 * PAGE_KEYS + 1
    first = s3.client("s3").list_objects_v2
    await asyncio.gather(*(store.write(f"p/v.zarr/0/c/{n}", b"") for n in range(count)))
    await store.write("p/v.zarr-beside", b"")
    assert first(Bucket="many")["IsTruncated"]
    assert len(await store.keys("p/v.zarr/")) == count
    await store.delete("p/v.zarr/")
    assert s3.keys("many") == ["p/v.zarr-beside"]


async def test_no_credentials_leave_the_process(describe, s3):
    async with serving(store_in(s3, "secret")) as remote:
        await remote.stubs.storage.CreateVolume(pb.CreateVolumeRequest(volume=describe()))
        volume = await remote.stubs.storage.ResolveVolume(pb.ResolveVolumeRequest(name=NAME))
        named = await remote.stubs.storage.ResolveObject(
            pb.ResolveObjectRequest(name="projects/p/objects/o")
        )
    for message in (volume, named):
        for keys in (s3.owner, s3.reader):
            assert keys.key not in str(message)
            assert keys.secret not in str(message)
    assert json.loads(named.kvstore_spec)["path"] == "lab/bio/p/objects/o"
    assert all(s3.owner.secret.encode() not in s3.get("secret", key) for key in s3.keys("secret"))
