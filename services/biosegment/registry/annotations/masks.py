"""Masks of commits: reading, checking, painting. Numpy only, fit for a thread."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biosegment.client.arrays import CLEARED, NOT_LABELLED, pack_mask, unpack_mask
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import Box
from biosegment.v1 import types_pb2

MAX_MASK_BYTES = (4 << 20) - (64 << 10)
"""Compressed bytes of one commit: a message of 4 MiB, which clients take, less its other fields."""
MAX_MASK_VOXELS = 64 << 20
"""Voxels of one commit: what a reader must be able to unpack at once."""
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class PackedMask:
    """A mask as it is recorded.

    Attributes:
        data: zlib over one byte per voxel in C order.
        classes: Class values present, ascending.
        labelled_voxels: Voxels with a class value.
    """

    data: bytes
    classes: list[int]
    labelled_voxels: int


def check_size(box: Box) -> None:
    """Returns if a mask over the box may be one commit.

    Raises:
        InvalidArgumentError: The box holds too many voxels.
    """
    if box.voxels > MAX_MASK_VOXELS:
        raise InvalidArgumentError(
            f"The box {box} holds {box.voxels} voxels, and one commit at most {MAX_MASK_VOXELS}; "
            "split it into several commits.",
            field="annotation.box",
            box=box,
        )


def read_mask(data: bytes, compression: int, box: Box) -> PackedMask:
    """Reads a mask as it was sent, and packs it as it is recorded.

    Raises:
        InvalidArgumentError: The bytes are damaged, do not fill the box, or the mask is too large
            for one commit.
    """
    known = (
        types_pb2.COMPRESSION_UNSPECIFIED,
        types_pb2.COMPRESSION_NONE,
        types_pb2.COMPRESSION_ZLIB,
    )
    if compression not in known:
        raise InvalidArgumentError(
            f"Compression {compression} is none that masks come in; use COMPRESSION_ZLIB.",
            field="annotation.compression",
        )
    check_size(box)
    packed = pack(unpack_mask(data, compression, box.shape))
    if len(packed.data) > MAX_MASK_BYTES:
        raise InvalidArgumentError(
            f"The mask over {box} takes {len(packed.data)} bytes when compressed, and one commit "
            f"at most {MAX_MASK_BYTES}; split its box into several commits.",
            field="annotation.mask",
            box=box,
        )
    return packed


def pack(mask: NDArray[np.uint8]) -> PackedMask:
    """Compresses a mask, uint8, axes ZYX, and counts its values."""
    counts = np.zeros(256, np.int64)
    flat = mask.reshape(-1)
    # bincount widens to 64 bits; by pieces that stays small.
    for start in range(0, flat.size, _PIECE):
        counts += np.bincount(flat[start : start + _PIECE], minlength=256)
    return PackedMask(
        pack_mask(mask),
        [int(value) for value in np.flatnonzero(counts[:CLEARED])],
        int(counts[:CLEARED].sum()),
    )


def paint(view: NDArray[np.uint8], view_box: Box, data: bytes, box: Box) -> None:
    """Paints a recorded mask into a view of the log.

    Args:
        view: uint8, axes ZYX, 255 = not labelled; changed in place.
        view_box: The voxels of the view.
        data: A mask as it is recorded.
        box: The voxels of the mask; they overlap the view.
    """
    common = view_box.intersection(box)
    if common is None:
        return
    mask = unpack_mask(data, types_pb2.COMPRESSION_ZLIB, box.shape)
    part = mask[common.relative_to(box.start).slices]
    target = view[common.relative_to(view_box.start).slices]
    np.copyto(target, part, where=part < CLEARED)
    target[part == CLEARED] = NOT_LABELLED


def difference(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mask that turns one view into another.

    Args:
        before: uint8, axes ZYX, 255 = not labelled.
        after: The same, as wanted.

    Returns:
        uint8, axes ZYX: 255 where nothing changes, 254 where labels vanish.
    """
    mask = np.where(after == NOT_LABELLED, np.uint8(CLEARED), after)
    mask[before == after] = NOT_LABELLED
    return mask
