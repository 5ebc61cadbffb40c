"""numpy arrays over gRPC: a header, then C-order bytes in pieces of 1 MiB; and compressed masks."""

import zlib
from collections.abc import Iterable, Iterator
from math import prod
from typing import IO

import numpy as np
from numpy.typing import NDArray

from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import Box
from biosegment.v1 import types_pb2 as pb

CHUNK_BYTES = 1 << 20
NOT_LABELLED = 255
"""In masks and label volumes: not labelled, or in a mask: left as it was."""
CLEARED = 254
"""In masks: back to not labelled."""

DTYPES: dict[int, np.dtype[np.generic]] = {
    pb.DATA_TYPE_UINT8: np.dtype("<u1"),
    pb.DATA_TYPE_UINT16: np.dtype("<u2"),
    pb.DATA_TYPE_UINT32: np.dtype("<u4"),
    pb.DATA_TYPE_UINT64: np.dtype("<u8"),
    pb.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    pb.DATA_TYPE_INT8: np.dtype("i1"),
    pb.DATA_TYPE_INT16: np.dtype("<i2"),
}


def dtype_of(data_type: int) -> np.dtype[np.generic]:
    """The numpy dtype of a DataType.

    Raises:
        InvalidArgumentError: The value is not one of DataType, or unspecified.
    """
    if data_type not in DTYPES:
        raise InvalidArgumentError(f"Data type {data_type} is not one that the platform stores.")
    return DTYPES[data_type]


def data_type_of(dtype: np.dtype[np.generic]) -> "pb.DataType.ValueType":
    """The DataType of a numpy dtype.

    Raises:
        InvalidArgumentError: The platform stores no such type.
    """
    for value, known in DTYPES.items():
        if known == dtype.newbyteorder("<"):
            return pb.DataType.ValueType(value)
    names = ", ".join(str(known) for known in DTYPES.values())
    raise InvalidArgumentError(f"Arrays of {dtype} cannot be stored; use one of {names}.")


def encode(array: NDArray[np.generic], box: Box) -> Iterator[pb.ArrayChunk]:
    """Yields the messages of an array.

    Args:
        array: Axes ZYX or CZYX; its spatial extent is that of the box.
        box: The voxels it covers.

    Raises:
        InvalidArgumentError: The extents differ, or the dtype cannot be stored.
    """
    if array.ndim not in (3, 4) or array.shape[-3:] != box.shape:
        raise InvalidArgumentError(
            f"An array of shape {array.shape} does not fill the box {box}.", box=box
        )
    yield pb.ArrayChunk(
        header=pb.ArrayHeader(
            data_type=data_type_of(array.dtype),
            box=box.to_proto(),
            channels=array.shape[0] if array.ndim == 4 else 0,
        )
    )
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    data = little.reshape(-1).view(np.uint8)
    for start in range(0, len(data), CHUNK_BYTES):
        yield pb.ArrayChunk(data=data[start : start + CHUNK_BYTES].tobytes())


class Decoder:
    """Collects the messages of one array. Feed it, then take the array."""

    def __init__(self, max_bytes: int | None = None, file: IO[bytes] | None = None) -> None:
        """Makes a decoder.

        Args:
            max_bytes: Of an array at most.
            file: Where to keep the array instead of in memory.
        """
        self._max_bytes = max_bytes
        self._file = file
        self._buffer: NDArray[np.uint8] | None = None
        self._filled = self._size = 0
        self._header: pb.ArrayHeader | None = None

    def feed(self, chunk: pb.ArrayChunk) -> None:
        """Takes the next message.

        Raises:
            InvalidArgumentError: Header missing or doubled, too much data, or too large.
        """
        if chunk.WhichOneof("content") == "header":
            if self._header is not None:
                raise InvalidArgumentError("The array stream has a second header.")
            self._header = chunk.header
            box = Box.from_proto(chunk.header.box)
            size = (
                prod(box.shape)
                * max(1, chunk.header.channels)
                * dtype_of(chunk.header.data_type).itemsize
            )
            if self._max_bytes is not None and size > self._max_bytes:
                raise InvalidArgumentError(
                    f"An array of {size} bytes is more than the {self._max_bytes} allowed in one "
                    "request; split the box."
                )
            self._size = size
            if self._file is None:
                self._buffer = np.empty(size, np.uint8)
            return
        if self._header is None:
            raise InvalidArgumentError("The array stream begins without a header.")
        end = self._filled + len(chunk.data)
        if end > self._size:
            raise InvalidArgumentError("The array stream holds more bytes than its box.")
        if self._file is not None:
            self._file.write(chunk.data)
        elif self._buffer is not None:
            self._buffer[self._filled : end] = np.frombuffer(chunk.data, np.uint8)
        self._filled = end

    def array(self) -> tuple[Box, NDArray[np.generic]]:
        """The box and its array, axes ZYX or CZYX.

        Raises:
            InvalidArgumentError: The stream ended early.
        """
        if self._header is None or self._filled < self._size:
            raise InvalidArgumentError("The array stream ended before its box was full.")
        if self._file is not None:
            self._file.flush()
            # Written by write(), not through the map: a disk that is full would be a signal there.
            self._buffer = np.memmap(self._file, np.uint8, "r", shape=(self._size,))
        assert self._buffer is not None
        box = Box.from_proto(self._header.box)
        shape = (self._header.channels, *box.shape) if self._header.channels else box.shape
        return box, self._buffer.view(dtype_of(self._header.data_type)).reshape(shape)


def decode(chunks: Iterable[pb.ArrayChunk]) -> NDArray[np.generic]:
    """The array of a whole stream, axes ZYX or CZYX."""
    decoder = Decoder()
    for chunk in chunks:
        decoder.feed(chunk)
    return decoder.array()[1]


def pack_mask(mask: NDArray[np.uint8]) -> bytes:
    """A uint8 mask, axes ZYX, as COMPRESSION_ZLIB bytes in C order."""
    return zlib.compress(np.ascontiguousarray(mask, np.uint8).tobytes(), 6)


def unpack_mask(data: bytes, compression: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The mask of a commit, uint8, axes ZYX.

    Raises:
        InvalidArgumentError: The bytes are damaged or do not fill the shape.
    """
    size = prod(shape)
    if compression == pb.COMPRESSION_ZLIB:
        engine = zlib.decompressobj()
        try:
            # One byte past the expected size tells a bomb from a mask without unpacking it.
            data = engine.decompress(data, size + 1)
        except zlib.error as error:
            raise InvalidArgumentError(f"The mask is damaged: {error}.") from None
    if len(data) != size:
        raise InvalidArgumentError(
            f"The mask has {'more' if len(data) > size else len(data)} bytes where its box of "
            f"{shape[0]} × {shape[1]} × {shape[2]} voxels needs {size}.",
            expected=size,
        )
    return np.frombuffer(data, np.uint8).reshape(shape)
