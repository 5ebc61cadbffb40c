"""Files to read, and what comes out of them."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.ingest.readers import folder
from biosegment.ingest.readers.base import Reading, Stack


def look(path: Path, **reading: Any) -> Stack:
    """The stack at a path."""
    return folder.scan(path, Reading(**reading), Path)


def read(path: Path, **reading: Any) -> NDArray[Any]:
    """Its voxels, axes ZYX."""
    return np.stack(list(look(path, **reading).pages()))


def pack(section: NDArray[Any], bits: int) -> bytes:
    """Numbers of so many bits each, the highest bit first; each row begins with a byte."""
    rows = b""
    for row in section:
        text = "".join(format(int(value), f"0{bits}b") for value in row)
        text += "0" * (-len(text) % 8)
        rows += int(text, 2).to_bytes(len(text) // 8, "big")
    return rows


def write_packed(path: Path, stack: NDArray[Any], bits: int, photometric: int = 1) -> None:
    """Writes an uncompressed TIFF by hand, of numbers of so many bits.

    Args:
        path: The file.
        stack: Axes ZYX.
        bits: Of each number.
        photometric: 0 for white-is-zero, 1 for black-is-zero.
    """
    content = b"II*\0" + struct.pack("<I", 8)
    for n, section in enumerate(stack):
        data = pack(section, bits)
        height, width = section.shape
        tags = {
            256: width,
            257: height,
            258: bits,
            259: 1,
            262: photometric,
            273: len(content) + 2 + 9 * 12 + 4,
            277: 1,
            278: height,
            279: len(data),
        }
        content += struct.pack("<H", len(tags))
        for code, value in tags.items():
            content += struct.pack("<HHII", code, 4, 1, value)
        end = len(content) + 4 + len(data)
        content += struct.pack("<I", end if n + 1 < len(stack) else 0) + data
    path.write_bytes(content)
