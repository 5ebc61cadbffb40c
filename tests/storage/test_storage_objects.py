import asyncio

import pytest

from biosegment.client.errors import InvalidArgumentError, NotFoundError
from biosegment.client.stubs import SyncStubs
from biosegment.runtime import objects
from biosegment.storage import objects as streamed
from biosegment.v1 import storage_pb2 as pb

NAME = "projects/p/objects/weights/m-1.safetensors"
# More than two messages, and no multiple of one.
DATA = bytes(range(256)) * 4 * 2500


@pytest.mark.parametrize("access", ["direct", "stream"])
async def test_objects_are_written_and_read_near_and_far(platform, access, monkeypatch):
    monkeypatch.setenv("BIOSEGMENT_STORE_ACCESS", access)

    def work():
        with SyncStubs(platform.connection) as stubs:
            with pytest.raises(NotFoundError, match=r"m-1\.safetensors"):
                objects.read(stubs, NAME)
            for data in (DATA, b"", b"abc"):
                objects.write(stubs, NAME, data)
                assert objects.read(stubs, NAME) == data
            objects.delete(stubs, NAME)
            objects.delete(stubs, NAME)
            with pytest.raises(NotFoundError):
                objects.read(stubs, NAME)

    await asyncio.to_thread(work)
    with pytest.raises(NotFoundError):
        await objects.fetch(platform.stubs, NAME)


@pytest.mark.parametrize("access", ["direct", "stream"])
async def test_many_objects_under_one_name(platform, access, monkeypatch):
    monkeypatch.setenv("BIOSEGMENT_STORE_ACCESS", access)
    keys = [f"label/{n}" for n in range(70)]

    def work():
        with SyncStubs(platform.connection) as stubs:
            objects.write(stubs, "projects/p/objects/jobs/j/parts-too", b"beside")
            many = objects.Objects(stubs, "projects/p/objects/jobs/j/parts")
            for key in keys:
                many.write(key, key.encode())
            assert list(many.read_all(keys)) == [key.encode() for key in keys]
            with pytest.raises(NotFoundError, match="parts/label/70"):
                list(many.read_all([*keys, "label/70"]))
            many.delete_all()
            with pytest.raises(NotFoundError):
                many.read("label/0")
            assert objects.read(stubs, "projects/p/objects/jobs/j/parts-too") == b"beside"

    await asyncio.to_thread(work)


async def test_an_object_by_stream_travels_in_small_messages(platform):
    await platform.stubs.storage.WriteObject(given(objects.messages(NAME, DATA)))
    request = pb.ReadObjectRequest(name=NAME)
    answers = [answer async for answer in platform.stubs.storage.ReadObject(request)]
    assert max(len(answer.data) for answer in answers) == 1 << 20
    assert b"".join(answer.data for answer in answers) == DATA
    assert await objects.fetch(platform.stubs, NAME) == DATA


async def given(messages):
    for message in messages:
        yield message


@pytest.mark.parametrize("change", ["short", "long", "nothing", "unsaid", "huge"])
async def test_a_stream_of_the_wrong_length_leaves_the_object_as_it_was(platform, change):
    await platform.stubs.storage.WriteObject(given(objects.messages(NAME, b"before")))
    whole = list(objects.messages(NAME, DATA))
    sent = {
        "short": whole[:-1],
        "long": [*whole, pb.WriteObjectRequest(data=b"x")],
        "nothing": [],
        "unsaid": whole[1:],
        "huge": [pb.WriteObjectRequest(name=NAME, size_bytes=streamed.MAX_OBJECT_BYTES + 1)],
    }[change]
    with pytest.raises(InvalidArgumentError):
        await platform.stubs.storage.WriteObject(given(sent))
    assert await objects.fetch(platform.stubs, NAME) == b"before"


async def test_a_writer_that_breaks_off_leaves_the_object_as_it_was(platform):
    await platform.stubs.storage.WriteObject(given(objects.messages(NAME, b"before")))
    stuck = asyncio.Event()

    async def broken():
        for message in list(objects.messages(NAME, DATA))[:-1]:
            yield message
        stuck.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(platform.stubs.storage.WriteObject(broken()))
    await stuck.wait()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert await objects.fetch(platform.stubs, NAME) == b"before"


@pytest.mark.parametrize("call", ["ReadObject", "WriteObject", "DeleteObject"])
async def test_names_of_streamed_objects_stay_inside(platform, call):
    name, storage = "projects/p/objects/../v.zarr/zarr.json", platform.stubs.storage
    calls = {
        "ReadObject": lambda: objects.fetch(platform.stubs, name),
        "WriteObject": lambda: storage.WriteObject(given(objects.messages(name, b"x"))),
        "DeleteObject": lambda: storage.DeleteObject(pb.DeleteObjectRequest(name=name, below=True)),
    }
    with pytest.raises(InvalidArgumentError, match="is not a name like"):
        await calls[call]()
