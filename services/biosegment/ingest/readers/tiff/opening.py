"""TIFF files, opened so that nothing blocks, follows or crashes."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tifffile

from biosegment.client.errors import DomainError, InvalidArgumentError
from biosegment.ingest.readers.base import Stamp, open_file


@contextmanager
def opened(file: Path, known: Stamp | None = None) -> Iterator[tuple[Any, Stamp]]:
    """An open tifffile.TiffFile, and the file as it is now.

    OME-XML and tifffile's own descriptions are not followed by tifffile: they may describe pages
    that are not there, or lie in other files. headers.py compares them with what is there.

    Args:
        file: The file.
        known: As it was when it was looked at.

    Raises:
        InvalidArgumentError: It is no plain file, no TIFF, or changed since.
    """
    handle, stamp = open_file(file)
    try:
        with handle:
            if known is not None and stamp != known:
                raise InvalidArgumentError(
                    f"{file} changed while it was imported. Import it again.", path=file
                )
            with tifffile.TiffFile(handle, is_ome=False, is_shaped=False) as tiff:
                yield tiff, stamp
    except DomainError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged header makes the parser raise anything
        raise InvalidArgumentError(
            f"{file} cannot be read as a TIFF file: {error}.", path=file
        ) from None


def chain_ends(tiff: Any) -> bool:
    """Whether the last page that could be read says that no other one follows."""
    layout, handle = tiff.tiff, tiff.filehandle
    handle.seek(tiff.pages[-1].offset)
    (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
    handle.seek(tiff.pages[-1].offset + layout.tagnosize + tags * layout.tagsize)
    (offset,) = struct.unpack(layout.offsetformat, handle.read(layout.offsetsize))
    return int(offset) == 0
