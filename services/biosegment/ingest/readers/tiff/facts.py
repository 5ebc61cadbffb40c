"""What the tags of one TIFF page say."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

_UNCOMPRESSED = 1
_SEPARATE = 2
_REDUCED, _MASK = 1, 4
_PHOTOMETRIC, _ORIENTATION = 262, 274
MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, TRANSPARENCY, YCBCR = 0, 1, 2, 3, 4, 6
# Orientations that exchange rows and columns.
_TURNED = range(5, 9)


@dataclass(frozen=True, slots=True)
class PageFacts:
    """One page.

    Attributes:
        index: Its number in the file, from 0.
        size: Rows and columns as they are to be seen, the orientation considered.
        dtype: Of the decoded numbers; None where nobody can decode them.
        bits: Of each number as it is stored; 0 where they differ.
        photometric: What the numbers stand for.
        samples: Numbers per pixel.
        separate: Whether each channel lies for itself.
        extra: Kinds of those beyond grey or colour: 1 and 2 are transparency.
        orientation: 1 to 8, as in the TIFF specification; 1 is as stored.
        depth: Sections within the page.
        reduced: Whether it says of itself that it is a preview or a mask of another page.
        whole: Whether its voxels lie inside the file and are as many as they must be.
        contiguous: Whether they lie as they are, one behind the other.
    """

    index: int
    size: tuple[int, int]
    dtype: np.dtype[np.generic] | None
    bits: int
    photometric: int
    samples: int
    separate: bool
    extra: tuple[int, ...]
    orientation: int
    depth: int
    reduced: bool
    whole: bool
    contiguous: bool


def facts_of(page: Any, index: int, end: int) -> PageFacts:
    """The facts of a page.

    Args:
        page: A tifffile.TiffPage.
        index: Its number.
        end: Bytes of the file.
    """
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 0
    orientation = _number(page, _ORIENTATION, 1)
    rows, columns = int(page.imagelength), int(page.imagewidth)
    dtype = None if page.dtype is None else np.dtype(page.dtype).newbyteorder("=")
    photometric = int(page.photometric) if _PHOTOMETRIC in page.tags else MIN_IS_BLACK
    return PageFacts(
        index=index,
        size=(columns, rows) if orientation in _TURNED else (rows, columns),
        dtype=dtype,
        bits=bits,
        photometric=photometric,
        samples=int(page.samplesperpixel),
        separate=int(page.planarconfig) == _SEPARATE,
        extra=tuple(int(kind) for kind in page.extrasamples),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        depth=int(page.imagedepth),
        reduced=bool(int(page.subfiletype) & (_REDUCED | _MASK)) or photometric == TRANSPARENCY,
        whole=_is_whole(page, bits, end),
        contiguous=bool(page.is_contiguous)
        and dtype is not None
        and bits == 8 * dtype.itemsize
        and orientation == 1,
    )


def _number(page: Any, code: int, default: int) -> int:
    tag = page.tags.get(code)
    try:
        return int(tag.value) if tag is not None else default
    except (TypeError, ValueError):
        return default


def _is_whole(page: Any, bits: int, end: int) -> bool:
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    inside: bool = bool(parts) and all(count > 0 and start + count <= end for start, count in parts)
    if not inside or page.compression != _UNCOMPRESSED or not bits:
        return inside
    # Rows are padded to whole bytes; what decoding makes of 10, 12 or 14 bits is larger.
    separate = int(page.planarconfig) == _SEPARATE
    width = int(page.tilewidth if page.is_tiled else page.imagewidth)
    row = -(-width * bits * (1 if separate else int(page.samplesperpixel)) // 8)
    if page.is_tiled:
        rows = int(page.tilelength) * int(page.tiledepth) * len(parts)
    else:
        planes = int(page.samplesperpixel) if separate else 1
        rows = int(page.imagelength) * int(page.imagedepth) * planes
    return bool(sum(count for _, count in parts) >= rows * row)


def one_plane(facts: PageFacts) -> PageFacts:
    """Of one of the planes of a page whose planes are sections, not colours."""
    return replace(facts, samples=1, extra=(), photometric=MIN_IS_BLACK, separate=False)
