"""The data plane for clients that cannot reach the store: regions in pieces of bounded size."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client import arrays
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import ZYX, BlockGrid, Box, shape_of
from biosegment.storage.spool import Spool
from biosegment.storage.streams import Places
from biosegment.storage.volumes import Volumes
from biosegment.v1 import storage_pb2, types_pb2

_PIECE_BYTES = 16 << 20
MAX_WRITE_BYTES = 256 << 20
"""Bytes of one WriteRegion."""
_AT_ONCE = 2
_HELD_BYTES = 64 << 20
"""Of an array that comes in, in memory at a time; one write unit where that is larger."""


def pieces(box: Box, chunk: ZYX, voxel_bytes: int, limit: int = _PIECE_BYTES) -> list[Box]:
    """Cuts a box into boxes that follow each other in its C order.

    Whole sections if they fit, else whole rows, else parts of a row. Cuts lie on chunk borders
    where they can, so that no chunk is read twice.

    Args:
        box: What to cut.
        chunk: Extent of a chunk.
        voxel_bytes: Bytes per voxel.
        limit: Bytes of a piece.
    """
    found = [box]
    for axis in range(3):
        inner = voxel_bytes
        for n in box.shape[axis + 1 :]:
            inner *= n
        length = max(1, limit // inner)
        found = [part for whole in found for part in _cut(whole, axis, length, chunk[axis])]
        if inner <= limit:
            return found
    return found


def _cut(box: Box, axis: int, length: int, chunk: int) -> list[Box]:
    at, end = box.start[axis], box.stop[axis]
    parts = []
    while at < end:
        stop = min(end, at + length)
        aligned = stop - stop % chunk
        if stop < end and aligned > at:
            stop = aligned
        start_, stop_ = list(box.start), list(box.stop)
        start_[axis], stop_[axis] = at, stop
        parts.append(
            Box((start_[0], start_[1], start_[2]), (stop_[0], stop_[1], stop_[2]), box.level)
        )
        at = stop
    return parts


def _level_of(volume: storage_pb2.Volume, box: Box) -> storage_pb2.VolumeLevel:
    if box.level >= len(volume.levels):
        raise InvalidArgumentError(
            f"{volume.name} has the levels 0 to {len(volume.levels) - 1}; the box {box} asks for "
            f"level {box.level}.",
            field="box.level",
        )
    level = volume.levels[box.level]
    box.within(shape_of(level.shape), f"level {box.level} of {volume.name}")
    return level


class Regions:
    """Streams regions in and out."""

    def __init__(self, volumes: Volumes, spool: Spool) -> None:
        self._volumes = volumes
        self._spool = spool
        self._coming, self._going = Places("regions"), Places("regions")
        # Taken only while the store works, never while a peer is waited for.
        self._writers, self._readers = asyncio.Semaphore(_AT_ONCE), asyncio.Semaphore(_AT_ONCE)

    async def read(
        self, name: str, asked: types_pb2.Box | None
    ) -> AsyncGenerator[types_pb2.ArrayChunk]:
        """Yields the messages of a region.

        Args:
            name: The volume.
            asked: The box; None means all of level 0.

        Raises:
            NotFoundError: There is no such volume.
            InvalidArgumentError: The volume has no such level.
            OutsideVolumeError: The box leaves the volume.
            UnavailableError: Too many are being read.
        """
        stream = await self._going.enter()
        try:
            async with aclosing(stream.given(self._chunks(name, asked), _size)) as given:
                async for chunk in given:
                    yield chunk
        finally:
            self._going.leave(stream)

    async def _chunks(
        self, name: str, asked: types_pb2.Box | None
    ) -> AsyncIterator[types_pb2.ArrayChunk]:
        volume = await self._volumes.get(name)
        whole = Box.of_shape(shape_of(volume.levels[0].shape))
        box = Box.from_proto(asked) if asked is not None else whole
        level = _level_of(volume, box)
        yield types_pb2.ArrayChunk(
            header=types_pb2.ArrayHeader(
                data_type=volume.data_type, box=box.to_proto(), channels=volume.channels
            )
        )
        store = await self._volumes.open_level(volume, box.level)
        dtype = arrays.dtype_of(volume.data_type)
        for channel in range(volume.channels or 1):
            lead: tuple[Any, ...] = (channel,) if volume.channels else ()
            for piece in pieces(box, shape_of(level.chunk), dtype.itemsize):
                async with self._readers:
                    with self._volumes.reaching("reading"):
                        data = await store[(*lead, *piece.slices)].read(order="C")
                raw = memoryview(data.reshape(-1)).cast("B")
                for start in range(0, len(raw), arrays.CHUNK_BYTES):
                    yield types_pb2.ArrayChunk(data=bytes(raw[start : start + arrays.CHUNK_BYTES]))

    async def write(self, messages: AsyncIterator[storage_pb2.WriteRegionRequest]) -> None:
        """Stores the region that a stream of messages holds.

        Raises:
            NotFoundError: There is no such volume.
            InvalidArgumentError: The stream is damaged or too large, or does not fit the volume.
            OutsideVolumeError: The box leaves the volume.
            DeadlineError: The stream was too slow.
            UnavailableError: Too many are being written.
        """
        stream = await self._coming.enter()
        try:
            with await self._spool.file() as file:
                name = ""
                volume: storage_pb2.Volume | None = None
                decoder = arrays.Decoder(MAX_WRITE_BYTES, file)
                async for message in stream.taken(messages, lambda each: _size(each.chunk)):
                    name = name or message.name
                    if volume is None:
                        volume = await self._volumes.get(name)
                    if message.chunk.WhichOneof("content") == "header":
                        _check_header(volume, message.chunk.header)
                    await self._spool.do("writing", decoder.feed, message.chunk)
                if volume is None:
                    raise InvalidArgumentError("The stream held no message.")
                box, data = decoder.array()
                async with self._writers:
                    await self._store(volume, box, data)
        finally:
            self._coming.leave(stream)

    async def _store(self, volume: storage_pb2.Volume, box: Box, data: NDArray[Any]) -> None:
        """Writes an array write unit by write unit, several at once where they are small."""
        store = await self._volumes.open_level(volume, box.level)
        writing: list[Any] = []
        held = 0
        with self._volumes.reaching("writing"):
            for unit in units(box, shape_of(volume.levels[box.level].write_unit)):
                part = np.array(data[(..., *unit.relative_to(box.start).slices)])
                if writing and held + part.nbytes > _HELD_BYTES:
                    await asyncio.gather(*writing)
                    writing, held = [], 0
                writing.append(asyncio.ensure_future(_written(store, unit, part)))
                held += part.nbytes
            await asyncio.gather(*writing)


async def _written(store: Any, unit: Box, part: NDArray[Any]) -> None:
    await store[(..., *unit.slices)].write(part)


def units(box: Box, unit: ZYX) -> Iterator[Box]:
    """The parts of a box that lie in one write unit each, in C order."""
    z, y, x = (start - start % n for start, n in zip(box.start, unit, strict=True))
    aligned = Box((z, y, x), box.stop, box.level)
    for block in BlockGrid(aligned, unit):
        part = block.intersection(box)
        assert part is not None
        yield part


def _size(chunk: types_pb2.ArrayChunk) -> int:
    return chunk.ByteSize()


def _check_header(volume: storage_pb2.Volume, header: types_pb2.ArrayHeader) -> None:
    _level_of(volume, Box.from_proto(header.box))
    if header.data_type != volume.data_type or header.channels != volume.channels:
        given = arrays.dtype_of(header.data_type).name
        wanted = arrays.dtype_of(volume.data_type).name
        raise InvalidArgumentError(
            f"{volume.name} holds {wanted} with {volume.channels or 'no'} channels; the array sent "
            f"is {given} with {header.channels or 'no'} channels.",
            name=volume.name,
        )
