"""Arrays and masks over the wire."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from biosegment.client import arrays
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import Box
from biosegment.client.verbs.annotations import split_mask
from biosegment.v1 import types_pb2 as pb

stored = hnp.arrays(
    st.sampled_from(list(arrays.DTYPES.values())),
    hnp.array_shapes(min_dims=3, max_dims=4, max_side=5),
)
masks = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=8))


@given(stored)
def test_an_array_survives_the_wire(array: np.ndarray) -> None:
    box = Box.at((1, 2, 3), array.shape[-3:])
    chunks = [
        pb.ArrayChunk.FromString(chunk.SerializeToString()) for chunk in arrays.encode(array, box)
    ]
    back = arrays.decode(chunks)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_a_large_array_goes_in_pieces_and_need_not_be_contiguous() -> None:
    array = np.arange(3 * 700 * 700, dtype=">u2").reshape(3, 700, 700)[:, ::-1]
    chunks = list(arrays.encode(array, Box.of_shape((3, 700, 700))))
    assert len(chunks) == 1 + -(-array.nbytes // arrays.CHUNK_BYTES)
    assert max(len(chunk.data) for chunk in chunks) == arrays.CHUNK_BYTES
    np.testing.assert_array_equal(arrays.decode(chunks), array)


def test_streams_that_do_not_fit_are_refused() -> None:
    array = np.zeros((1, 2, 3), np.uint8)
    head, body = arrays.encode(array, Box.of_shape((1, 2, 3)))
    for chunks, why in [
        ([head], "ended before"),
        ([body], "without a header"),
        ([head, body, body], "more bytes"),
        ([head, head], "second header"),
    ]:
        with pytest.raises(InvalidArgumentError, match=why):
            arrays.decode(chunks)
    with pytest.raises(InvalidArgumentError, match="split the box"):
        arrays.Decoder(max_bytes=5).feed(head)
    with pytest.raises(InvalidArgumentError, match="does not fill"):
        list(arrays.encode(array, Box.of_shape((1, 2, 4))))
    with pytest.raises(InvalidArgumentError, match="cannot be stored"):
        list(arrays.encode(array.astype(np.int32), Box.of_shape((1, 2, 3))))


@given(masks)
def test_a_mask_survives_packing(mask: np.ndarray) -> None:
    for data, compression in [
        (arrays.pack_mask(mask), pb.COMPRESSION_ZLIB),
        (mask.tobytes(), pb.COMPRESSION_NONE),
    ]:
        np.testing.assert_array_equal(arrays.unpack_mask(data, compression, mask.shape), mask)


def test_damaged_masks_are_refused() -> None:
    packed = arrays.pack_mask(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    bomb = zlib.compress(bytes(50_000_000))
    for data in (packed[:-8], b"", b"nonsense", bomb, arrays.pack_mask(np.zeros((1, 1, 1)))):
        with pytest.raises(InvalidArgumentError, match="mask"):
            arrays.unpack_mask(data, pb.COMPRESSION_ZLIB, (2, 3, 4))


@given(masks, st.integers(9, 60), st.tuples(*[st.integers(0, 9)] * 3))
def test_the_pieces_of_a_mask_make_up_the_mask(
    mask: np.ndarray, limit: int, start: tuple[int, int, int]
) -> None:
    box = Box.at(start, mask.shape)
    back = np.zeros(box.stop, int)
    for piece, packed in split_mask(box, mask, limit):
        # Only a single row may be larger than the limit: it is never cut.
        assert len(packed) <= limit or piece.shape[:2] == (1, 1)
        part = arrays.unpack_mask(packed, pb.COMPRESSION_ZLIB, piece.shape)
        back[piece.slices] += part.astype(int) + 1
    np.testing.assert_array_equal(back[box.slices], mask.astype(int) + 1)
    assert back.sum() == (mask.astype(int) + 1).sum()
