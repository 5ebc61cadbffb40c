"""Errors and delays between the platform and an S3-compatible server, injected by a proxy."""

import asyncio
import os
import subprocess
import sys

import numpy as np
import pytest

from biosegment.client.errors import UnavailableError
from biosegment.client.geometry import Box
from biosegment.client.stubs import SyncStubs
from biosegment.runtime.arrays import VolumeArray, build_pyramid
from biosegment.storage import address
from biosegment.storage.painter import paint
from biosegment.storage.store import Store
from biosegment.storage.volumes import Volumes
from biosegment.v1 import storage_pb2 as pb
from tests.faulty_proxy import FAULTS, FaultyProxy
from tests.s3_kit import S3
from tests.storage.conftest import serving

NAME = "projects/p/volumes/v"
SHAPE = (9, 130, 600)
pytestmark = pytest.mark.usefixtures("s3_keys")


@pytest.fixture
def proxy(s3: S3):
    with FaultyProxy(s3.port, seed=7, rate=0.0) as made:
        yield made


def store_in(s3: S3, bucket: str, proxy: FaultyProxy) -> Store:
    return Store(address.base_spec(f"s3://{s3.bucket(bucket)}/x", proxy.endpoint, ""))


def fill(connection, data):
    with SyncStubs(connection) as stubs:
        volume = VolumeArray.open(stubs, NAME)
        unit = volume.volume.levels[0].write_unit
        for y in range(0, SHAPE[1], unit.y):
            for x in range(0, SHAPE[2], unit.x):
                stop = (SHAPE[0], min(y + unit.y, SHAPE[1]), min(x + unit.x, SHAPE[2]))
                box = Box((0, y, x), stop)
                volume.write(box, data[box.slices])
        build_pyramid(volume)
        levels = range(len(volume.volume.levels))
        return [volume.read(Box.of_shape(volume.shape(n), n)) for n in levels]


@pytest.mark.parametrize(
    ("access", "layout"),
    [("direct", pb.VOLUME_FORMAT_OME_ZARR), ("stream", pb.VOLUME_FORMAT_N5)],
)
async def test_a_volume_is_whole_in_spite_of_faults(
    platform, describe, s3, proxy, access, layout, monkeypatch
):
    asked = describe(shape=SHAPE, voxel_size=(10, 10, 10), format=layout)
    data = np.random.default_rng(8).integers(0, 255, SHAPE).astype("u1")
    await platform.stubs.storage.CreateVolume(pb.CreateVolumeRequest(volume=asked))
    expected = await asyncio.to_thread(fill, platform.connection, data)
    monkeypatch.setenv("BIOSEGMENT_STORE_ACCESS", access)
    async with serving(store_in(s3, f"faulty-{access}", proxy)) as remote:
        proxy.rate = 0.3
        await remote.stubs.storage.CreateVolume(pb.CreateVolumeRequest(volume=asked))
        found = await asyncio.to_thread(fill, remote.connection, data)
        done = await remote.stubs.storage.FinishVolume(pb.FinishVolumeRequest(name=NAME))
        proxy.rate = 0.0
    assert done.volume.state == pb.VOLUME_STATE_READY
    for near, far in zip(expected, found, strict=True):
        np.testing.assert_array_equal(near, far)
    assert set(proxy.met) == set(FAULTS), proxy.met


async def test_writers_of_one_object_lose_nothing_of_each_other(describe, s3, proxy):
    """Two processes would; here two caches do, which know nothing of each other either."""
    store = store_in(s3, "shared", proxy)
    first, second = Volumes(store), Volumes(store)
    volume = await first.create(describe(shape=(4, 64, 64)), "r", replace_unfinished=False)
    levels = [await each.open_level(volume, 0) for each in (first, second)]
    proxy.rate = 0.2
    await asyncio.gather(*(levels[n % 2][n // 8, n % 8, 5].write(n + 1) for n in range(32)))
    proxy.rate = 0.0
    found = await levels[0].read()
    np.testing.assert_array_equal(found[:, :8, 5].ravel(), np.arange(1, 33))
    assert np.count_nonzero(found) == 32
    assert proxy.met["lost answer"]


async def test_a_label_volume_is_painted_in_spite_of_faults(describe, s3, proxy):
    volumes = Volumes(store_in(s3, "painted", proxy))
    asked = describe(shape=(2, 64, 64), kind=pb.VOLUME_KIND_LABELS, fill_value=255)
    volume = await volumes.create(asked, "r", replace_unfinished=False)
    level = await volumes.open_level(volume, 0)
    expected = np.full((2, 64, 64), 255, np.uint8)
    proxy.rate = 0.2
    for n in range(12):
        box = Box.at((n % 2, 3 * n, 2 * n), (1, 20, 20))
        with volumes.reaching("painting"):
            region = level[box.slices]
            mask = np.where(np.arange(400).reshape(box.shape) % 3 == 0, 255, n).astype(np.uint8)
            await region.write(paint(await region.read(), mask))
        expected[box.slices] = paint(expected[box.slices], mask)
        await volumes.set_revision(volume.name, n + 1)
    proxy.rate = 0.0
    np.testing.assert_array_equal(await level.read(), expected)
    assert (await volumes.get(volume.name)).revision == 12


async def test_a_store_that_is_away_is_said_and_used_again(describe, s3, proxy, monkeypatch):
    monkeypatch.setattr(address, "RETRIES", {**address.RETRIES, "max_retries": 1})
    store = store_in(s3, "away", proxy)
    async with serving(store) as remote:
        await remote.stubs.storage.CreateVolume(pb.CreateVolumeRequest(volume=describe()))
        for fault, what in (("reset", "retry attempts failed"), ("slow down", "SlowDown")):
            proxy.rate, proxy.faults = 1.0, (fault,)
            with pytest.raises(UnavailableError, match=r"^s3://away/x/ cannot be reached") as said:
                await remote.volumes.get(NAME)
            assert what in said.value.message
        proxy.rate = 0.0
        assert (await remote.volumes.get(NAME)).name == NAME


def test_a_server_that_never_answers_is_not_waited_for_without_end(s3, proxy):
    bucket = s3.bucket("hanging")
    program = f"""
import asyncio
from biosegment.storage import address, start
from biosegment.storage.painter import paint
from biosegment.storage.store import Store
from biosegment.storage.volumes import Volumes
address.RETRIES = {{**address.RETRIES, "max_retries": 1}}
asyncio.run(start.probe(Store(address.base_spec("s3://{bucket}", "{proxy.endpoint}", ""))))
"""
    proxy.hanging.set()
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "UnavailableError: s3://hanging/ cannot be reached" in answer.stderr
