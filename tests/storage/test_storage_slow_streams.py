"""Peers that are slow to send or to take, and what uploads cost in memory."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biosegment.client import arrays
from biosegment.client.errors import DeadlineError
from biosegment.client.geometry import Box
from biosegment.runtime import objects
from biosegment.storage import streams
from biosegment.v1 import storage_pb2 as pb

NAME = "projects/p/objects/weights/m.bin"
SMALL = f"{NAME}.small"
VOLUME = "projects/p/volumes/v"
MIB = 1 << 20


@pytest.fixture
async def storage(platform: Any, describe: Any) -> Any:
    """The stub of a service that has a volume and an object."""
    stub = platform.stubs.storage
    await stub.CreateVolume(pb.CreateVolumeRequest(volume=describe(VOLUME, (16, 256, 256))))
    await stub.WriteObject(given(objects.messages(NAME, bytes(32 * MIB))))
    await stub.WriteObject(given(objects.messages(SMALL, bytes(3 * MIB))))
    return stub


async def given(messages: Any) -> AsyncIterator[Any]:
    for message in messages:
        yield message


def region(box: Box) -> list[pb.WriteRegionRequest]:
    data = np.ones(box.shape, np.uint8)
    return [
        pb.WriteRegionRequest(name=VOLUME if n == 0 else "", chunk=chunk)
        for n, chunk in enumerate(arrays.encode(data, box))
    ]


def upload(name: str = NAME) -> list[pb.WriteObjectRequest]:
    return list(objects.messages(name, b"x" * 3000))


async def stalled(messages: list[Any]) -> AsyncIterator[Any]:
    """All but the last message, and then nothing."""
    for message in messages[:-1]:
        yield message
    await asyncio.Event().wait()


async def trickled(messages: list[Any]) -> AsyncIterator[Any]:
    """A byte now and then."""
    yield messages[0]
    while True:
        await asyncio.sleep(0.02)
        yield type(messages[0])(
            **({"data": b"x"} if isinstance(messages[0], pb.WriteObjectRequest) else {})
        )


BOX = Box.of_shape((16, 256, 256))
WRITES = {
    "WriteRegion": lambda: region(BOX),
    "WriteObject": lambda: upload(),
}
READS = {
    "ReadRegion": lambda: pb.ReadRegionRequest(name=VOLUME),
    "ReadObject": lambda: pb.ReadObjectRequest(name=NAME),
}


@pytest.mark.parametrize("call", WRITES)
async def test_a_writer_that_pauses_is_given_up(
    storage: Any, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(streams, "MESSAGE_SECONDS", 0.3)
    with pytest.raises(DeadlineError, match="paused"):
        await getattr(storage, call)(stalled(WRITES[call]()))


@pytest.mark.parametrize("call", WRITES)
async def test_a_byte_now_and_then_does_not_keep_a_place(
    storage: Any, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(streams, "GRACE_SECONDS", 0.5)
    with pytest.raises(DeadlineError, match="slower"):
        await getattr(storage, call)(trickled(WRITES[call]()))


@pytest.mark.parametrize("call", WRITES)
async def test_slow_writers_stop_nobody_else(
    storage: Any, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(streams, "STREAMS", 6)
    monkeypatch.setattr(streams, "_SLOW_SECONDS", 0.1)
    # More than there were turns, and more than there are places.
    slow = [asyncio.create_task(getattr(storage, call)(stalled(WRITES[call]()))) for _ in range(10)]
    async with asyncio.timeout(60):
        for _ in range(4):
            await getattr(storage, call)(given(WRITES[call]()))
    assert sum(not task.done() for task in slow) >= 1
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


@pytest.mark.parametrize("call", READS)
async def test_slow_readers_stop_nobody_else(
    storage: Any, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(streams, "STREAMS", 6)
    monkeypatch.setattr(streams, "_SLOW_SECONDS", 0.1)
    slow = [getattr(storage, call)(READS[call]()) for _ in range(10)]

    async def start(stream: Any) -> None:
        await anext(stream)

    starting = [asyncio.create_task(start(stream)) for stream in slow]
    async with asyncio.timeout(60):
        for _ in range(4):
            request = pb.ReadObjectRequest(name=SMALL)
            got = [len(answer.data) async for answer in storage.ReadObject(request)]
            assert sum(got) == 3 * MIB
            request = pb.ReadRegionRequest(name=VOLUME)
            assert [answer async for answer in storage.ReadRegion(request)]
    for task in starting:
        task.cancel()
    await asyncio.gather(*starting, return_exceptions=True)
    for stream in slow:
        await stream.aclose()


async def test_a_reader_that_stops_reading_is_given_up(
    storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MESSAGE_SECONDS", 0.5)
    monkeypatch.setattr(streams, "STREAMS", 1)
    # Nobody else is made room for: the place is free because the reader was given up.
    monkeypatch.setattr(streams, "_SLOW_SECONDS", 3600.0)
    stopped = storage.ReadObject(READS["ReadObject"]())
    await anext(stopped)
    async with asyncio.timeout(60):
        request = pb.ReadObjectRequest(name=SMALL)
        got = [len(answer.data) async for answer in storage.ReadObject(request)]
    assert sum(got) == 3 * MIB
    await stopped.aclose()


async def test_an_object_is_read_as_it_was_when_the_reading_began(storage: Any) -> None:
    stream = storage.ReadObject(READS["ReadObject"]())
    first = (await anext(stream)).data
    await storage.WriteObject(given(objects.messages(NAME, b"y" * 5000)))
    rest = b"".join([answer.data async for answer in stream])
    assert first + rest == bytes(32 * MIB)


class Memory:
    """How much more memory of its own this process takes at most, in bytes. Use it with with."""

    def __enter__(self) -> "Memory":
        self._stop = threading.Event()
        self._least = self._most = self._now()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self._most = max(self._most, self._now())

    @staticmethod
    def _now() -> int:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) << 10
        pytest.skip("the system does not say what a process takes")

    @property
    def rise(self) -> int:
        return self._most - self._least


async def test_uploads_cost_a_constant_in_memory(storage: Any, platform: Any) -> None:
    size = 160 * MIB
    piece = bytes(MIB)

    async def upload_one(number: int) -> None:
        async def messages() -> AsyncIterator[pb.WriteObjectRequest]:
            yield pb.WriteObjectRequest(name=f"{NAME}.{number}", size_bytes=size)
            for _ in range(size // MIB):
                yield pb.WriteObjectRequest(data=piece)

        await storage.WriteObject(messages())

    with Memory() as memory:
        await asyncio.gather(upload_one(1), upload_one(2))
        read = 0
        async for answer in storage.ReadObject(pb.ReadObjectRequest(name=f"{NAME}.1")):
            read += len(answer.data)
    assert read == size
    assert memory.rise < 120 * MIB
    assert not list(platform.folder.rglob("*.__lock"))


async def test_a_region_that_comes_in_is_not_held_twice(storage: Any, describe: Any) -> None:
    shape = (64, 1024, 2048)
    await storage.CreateVolume(
        pb.CreateVolumeRequest(volume=describe("projects/p/volumes/large", shape))
    )
    box = Box.of_shape(shape)
    plane = np.full(MIB, 7, np.uint8).tobytes()

    async def messages() -> AsyncIterator[pb.WriteRegionRequest]:
        header = next(arrays.encode(np.broadcast_to(np.uint8(7), shape), box))
        yield pb.WriteRegionRequest(name="projects/p/volumes/large", chunk=header)
        for _ in range(box.voxels // MIB):
            yield pb.WriteRegionRequest(chunk=type(header)(data=plane))

    with Memory() as memory:
        await storage.WriteRegion(messages())
    assert memory.rise < 2.0 * box.voxels
    corner = pb.ReadRegionRequest(
        name="projects/p/volumes/large", box=Box.at((60, 1000, 2000), (2, 10, 10)).to_proto()
    )
    decoder = arrays.Decoder()
    async for answer in storage.ReadRegion(corner):
        decoder.feed(answer.chunk)
    assert (decoder.array()[1] == 7).all()
