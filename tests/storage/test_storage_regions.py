import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biosegment.client import arrays
from biosegment.client.errors import InvalidArgumentError, NotFoundError, OutsideVolumeError
from biosegment.client.geometry import Box
from biosegment.client.stubs import SyncStubs
from biosegment.runtime.arrays import VolumeArray, build_pyramid
from biosegment.storage.regions import pieces
from biosegment.v1 import storage_pb2 as pb
from biosegment.v1 import types_pb2

NAME = "projects/p/volumes/v"


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(*[st.integers(0, 30)] * 3),
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.integers(1, 20)] * 3),
    st.integers(1, 5000),
)
def test_pieces_follow_c_order_and_stay_small(start, shape, chunk, limit):
    box = Box.at(start, shape)
    data = np.arange(box.voxels, dtype="u2").reshape(shape)
    found = pieces(box, chunk, 2, limit)
    joined = np.concatenate([data[p.relative_to(start).slices].ravel() for p in found])
    np.testing.assert_array_equal(joined, data.ravel())
    assert all(p.voxels * 2 <= max(limit, 2) for p in found)


async def create(platform, volume):
    request = pb.CreateVolumeRequest(volume=volume, request_id="r")
    return (await platform.stubs.storage.CreateVolume(request)).volume


async def send(platform, array, box, name=NAME):
    async def messages():
        for n, chunk in enumerate(arrays.encode(array, box)):
            yield pb.WriteRegionRequest(name="" if n else name, chunk=chunk)

    await platform.stubs.storage.WriteRegion(messages())


async def receive(platform, box=None, name=NAME):
    request = pb.ReadRegionRequest(name=name, box=box.to_proto() if box else None)
    decoder = arrays.Decoder()
    async for answer in platform.stubs.storage.ReadRegion(request):
        assert answer.ByteSize() < (1 << 20) + 64
        decoder.feed(answer.chunk)
    return decoder.array()


@pytest.mark.parametrize("layout", [pb.VOLUME_FORMAT_OME_ZARR, pb.VOLUME_FORMAT_N5])
@pytest.mark.parametrize("channels", [0, 2])
async def test_regions_travel_both_ways(platform, describe, layout, channels):
    await create(platform, describe(shape=(20, 300, 400), channels=channels, format=layout))
    box = Box((3, 10, 20), (18, 290, 399))
    shape = (channels, *box.shape) if channels else box.shape
    data = np.random.default_rng(2).integers(1, 255, shape).astype("u1")
    await send(platform, data, box)
    got_box, got = await receive(platform, box)
    assert got_box == box
    np.testing.assert_array_equal(got, data)
    _, whole = await receive(platform)
    assert whole.shape[-3:] == (20, 300, 400)
    assert np.count_nonzero(whole) == data.size


async def test_regions_that_do_not_fit_are_refused(platform, describe):
    await create(platform, describe(shape=(20, 300, 400)))
    with pytest.raises(OutsideVolumeError, match="20 × 300 × 400"):
        await receive(platform, Box((0, 0, 0), (21, 1, 1)))
    with pytest.raises(InvalidArgumentError, match="level 3"):
        await receive(platform, Box((0, 0, 0), (1, 1, 1), 3))
    with pytest.raises(InvalidArgumentError, match="no voxels"):
        await receive(platform, Box((5, 0, 0), (5, 1, 1)))
    with pytest.raises(NotFoundError):
        await receive(platform, name="projects/p/volumes/none")
    one = Box((0, 0, 0), (1, 1, 1))
    with pytest.raises(InvalidArgumentError, match="uint16"):
        await send(platform, np.zeros((1, 1, 1), "u2"), one)
    with pytest.raises(OutsideVolumeError):
        await send(platform, np.zeros((1, 1, 1), "u1"), Box((20, 0, 0), (21, 1, 1)))
    with pytest.raises(InvalidArgumentError, match="is not the full name"):
        await send(platform, np.zeros((1, 1, 1), "u1"), one, name="")


async def test_a_write_is_bounded(platform, describe):
    await create(platform, describe(shape=(2000, 1000, 1000)))
    box = Box((0, 0, 0), (1000, 1000, 1000))

    async def messages():
        header = next(arrays.encode(np.broadcast_to(np.uint8(0), box.shape), box))
        yield pb.WriteRegionRequest(name=NAME, chunk=header)

    with pytest.raises(InvalidArgumentError, match="split the box"):
        await platform.stubs.storage.WriteRegion(messages())


async def test_a_stream_that_ends_early_writes_nothing(platform, describe):
    await create(platform, describe(shape=(20, 300, 400)))
    box = Box((0, 0, 0), (20, 300, 400))

    async def messages():
        chunks = list(arrays.encode(np.ones(box.shape, "u1"), box))
        for chunk in chunks[:-1]:
            yield pb.WriteRegionRequest(name=NAME, chunk=chunk)

    with pytest.raises(InvalidArgumentError, match="ended before"):
        await platform.stubs.storage.WriteRegion(messages())
    assert not (await receive(platform))[1].any()


@pytest.mark.parametrize("access", ["direct", "stream"])
async def test_a_kept_chunk_is_never_older_than_the_store(platform, describe, access, monkeypatch):
    monkeypatch.setenv("BIOSEGMENT_STORE_ACCESS", access)
    await create(platform, describe(shape=(2, 40, 40)))
    box = Box.at((0, 0, 0), (2, 40, 40))

    def work():
        with SyncStubs(platform.connection) as stubs:
            reader = VolumeArray.open(stubs, NAME, cache_bytes=1 << 20)
            writer = VolumeArray.open(stubs, NAME)
            for value in (3, 7):
                writer.write(box, np.full(box.shape, value, "u1"))
                assert np.unique(reader.read(box)) == [value]
                assert np.unique(reader.read(box)) == [value]

    await asyncio.to_thread(work)


@pytest.mark.parametrize("access", ["direct", "stream"])
async def test_workers_use_the_same_object_near_and_far(platform, describe, access, monkeypatch):
    monkeypatch.setenv("BIOSEGMENT_STORE_ACCESS", access)
    await create(platform, describe(shape=(20, 300, 400)))
    data = np.random.default_rng(3).integers(0, 255, (5, 100, 100)).astype("u1")
    box = Box.at((1, 2, 3), data.shape)

    def work():
        with SyncStubs(platform.connection) as stubs:
            volume = VolumeArray.open(stubs, NAME)
            assert volume.direct is (access == "direct")
            volume.write(box, data)
            return volume.read(box)

    np.testing.assert_array_equal(await asyncio.to_thread(work), data)


@pytest.mark.parametrize("layout", [pb.VOLUME_FORMAT_OME_ZARR, pb.VOLUME_FORMAT_N5])
@pytest.mark.parametrize(
    ("kind", "data_type"),
    [
        (pb.VOLUME_KIND_IMAGE, types_pb2.DATA_TYPE_UINT8),
        (pb.VOLUME_KIND_IMAGE, types_pb2.DATA_TYPE_INT16),
        (pb.VOLUME_KIND_LABELS, types_pb2.DATA_TYPE_UINT8),
    ],
)
@pytest.mark.parametrize("access", ["direct", "stream"])
async def test_pyramid_of_means_and_modes(
    platform, describe, kind, data_type, layout, access, monkeypatch
):
    monkeypatch.setenv("BIOSEGMENT_STORE_ACCESS", access)
    shape = (9, 130, 1030)
    described = describe(
        shape=shape, kind=kind, format=layout, voxel_size=(10, 10, 10), dtype=data_type
    )
    made = await create(platform, described)
    signed = data_type == types_pb2.DATA_TYPE_INT16
    data = np.random.default_rng(4).integers(-30_000 if signed else 0, 3, shape)
    data = data.astype("i2" if signed else "u1")
    seen = []

    def work():
        with SyncStubs(platform.connection) as stubs:
            volume = VolumeArray.open(stubs, NAME)
            volume.write(Box.of_shape(shape), data)
            build_pyramid(volume, lambda done, total: seen.append((done, total)))
            return [volume.read(Box.of_shape(volume.shape(n), n)) for n in range(3)]

    levels = await asyncio.to_thread(work)
    assert len(made.levels) == 3
    assert seen[-1][0] == seen[-1][1] > 0
    padded = data[:, :, :]
    assert levels[1].shape == (9, 65, 515)
    pairs = padded.reshape(9, 65, 2, 515, 2).transpose(0, 1, 3, 2, 4).reshape(9, 65, 515, 4)
    if kind == pb.VOLUME_KIND_IMAGE:
        assert np.abs(levels[1] - pairs.mean(-1)).max() <= 0.5
    else:
        counts = np.stack([(pairs == value).sum(-1) for value in range(3)], -1)
        chosen = np.take_along_axis(counts, levels[1][..., None].astype(int), -1)[..., 0]
        np.testing.assert_array_equal(chosen, counts.max(-1))


@pytest.mark.parametrize(
    "name",
    [
        "projects/p/objects/",
        "projects/p/objects",
        "projects/p/objects/../v.zarr/zarr.json",
        "projects/p/objects/a/../../b",
        "projects/p/objects//etc/passwd",
        "projects/p/objects/.hidden",
        "projects/../objects/a",
        "projects/p/objects/a\\b",
        "projects/p/objects/a\nb",
        "projects/p/objects/a?b",
        "projects/p/objects/a.__lock",
        "projects/p/objects/" + "a/" * 300 + "a",
        "/etc/passwd",
    ],
)
async def test_object_names_stay_inside(platform, name):
    with pytest.raises(InvalidArgumentError):
        await platform.stubs.storage.ResolveObject(pb.ResolveObjectRequest(name=name))
