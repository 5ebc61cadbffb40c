"""Stacks of TIFF pages to import: one multi-page file, or a folder of single pages."""

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from biosegment.client.errors import DomainError, InvalidArgumentError
from biosegment.client.geometry import ZYX
from biosegment.ingest import voxel_size

_SUFFIXES = {".tif", ".tiff"}
_DTYPES = (np.dtype("u1"), np.dtype("u2"))
# Labels are whole numbers of any type; what they mean is looked at page by page.
_LABEL_KINDS = "biuf"
_UNCOMPRESSED = 1
_MAX_PAGE_BYTES = 2 << 30
# ImageJ shows no more channels than these. A stack of more "channels" is one of sections, written
# by a program that names the first axis so unless told otherwise.
_MAX_CHANNELS = 7


@dataclass(frozen=True, slots=True)
class TiffStack:
    """A readable stack.

    Attributes:
        files: One file of all pages, or one file per page.
        shape: Extent in voxels, (z, y, x).
        dtype: uint8 or uint16; of labels any.
        voxel_size: What the files say, nanometres.
    """

    files: tuple[Path, ...]
    shape: ZYX
    dtype: np.dtype[np.generic]
    voxel_size: voxel_size.Found

    def pages(self) -> Iterator[NDArray[Any]]:
        """Yields every page from first to last, axes YX, one in memory at a time.

        Raises:
            InvalidArgumentError: A page cannot be decoded.
        """
        for file in self.files:
            with _opened(file) as (tiff, series):
                count = self.shape[0] if len(self.files) == 1 else 1
                for n in range(count):
                    try:
                        page = _page(tiff, series, n, self.shape[1:])
                    except Exception as error:  # noqa: BLE001 - decoders raise anything
                        raise InvalidArgumentError(
                            f"Page {n + 1} of {file} cannot be decoded: {error}.", path=file
                        ) from None
                    yield page.astype(self.dtype, copy=False)


def find_files(path: Path, allow: Callable[[str], Path]) -> list[Path]:
    """The TIFF files of a stack.

    Args:
        path: A TIFF file, or a folder whose TIFF files are sorted naturally (2 before 10).
        allow: Returns the real path of a file that may be read; links in the folder may lead out.

    Raises:
        InvalidArgumentError: The folder holds no TIFF file.
        PathNotAllowedError: A file lies outside the allowed roots.
    """
    if not path.is_dir():
        return [allow(str(path))]
    found = [
        entry
        for entry in path.iterdir()
        if entry.suffix.lower() in _SUFFIXES and not entry.name.startswith(".")
    ]
    if not found:
        raise InvalidArgumentError(f"The folder {path} holds no .tif or .tiff file.", path=path)
    found.sort(key=lambda entry: [_natural(part) for part in re.split(r"(\d+)", entry.name)])
    return [allow(str(entry)) for entry in found]


def _natural(part: str) -> tuple[int, int, str]:
    return (0, int(part), part) if part.isdecimal() and part.isascii() else (1, 0, part.lower())


def scan(
    files: Sequence[Path], check: Callable[[], None] = lambda: None, *, labels: bool = False
) -> TiffStack:
    """Looks at the headers of all pages, without reading their voxels.

    Args:
        files: One file of many pages, or many files of one page each.
        check: Called for each file; raises to stop.
        labels: Whether they hold labels, which may be of any type of numbers.

    Raises:
        InvalidArgumentError: A file is not a TIFF, is cut off, has more than one channel or, where
            it is no labels, a type other than 8 or 16 bit unsigned, or the pages differ.
    """
    first = _scan_file(files[0], labels)
    if len(files) == 1:
        return first
    for file in files:
        check()
        stack = _scan_file(file, labels)
        if stack.shape[0] != 1:
            raise InvalidArgumentError(
                f"{file} holds {stack.shape[0]} pages; in a folder of TIFF files each must hold "
                "one. Import a file of many pages by its own path.",
                path=file,
            )
        if stack.shape != first.shape or stack.dtype != first.dtype:
            raise InvalidArgumentError(
                f"{file} is {_describe(stack)}, but {files[0].name} is {_describe(first)}; all "
                "pages must have one size and type.",
                path=file,
            )
    shape = (len(files), *first.shape[1:])
    return TiffStack(tuple(files), shape, first.dtype, first.voxel_size)


def _describe(stack: TiffStack) -> str:
    return f"{stack.shape[1]} × {stack.shape[2]} of {stack.dtype.name}"


@contextmanager
def _opened(file: Path) -> Iterator[tuple[Any, list[Any]]]:
    """The file and its series.

    OME-XML and tifffile's own descriptions are not followed: they may describe pages that are not
    there, or lie in other files.
    """
    try:
        with tifffile.TiffFile(file, is_ome=False, is_shaped=False) as tiff:
            yield tiff, tiff.series
    except DomainError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged header makes the parser raise anything
        raise InvalidArgumentError(
            f"{file} cannot be read as a TIFF file: {error}.", path=file
        ) from None


def _scan_file(file: Path, labels: bool) -> TiffStack:
    with _opened(file) as (tiff, series):
        if not series or not tiff.pages:
            raise InvalidArgumentError(f"{file} holds no image.", path=file)
        _check_channels(file, tiff, series)
        shape = tuple(int(n) for n in series[0].shape)
        z, y, x = (1, *shape) if len(shape) == 2 else shape
        dtype = np.dtype(series[0].dtype).newbyteorder("=")
        if dtype.kind not in _LABEL_KINDS if labels else dtype not in _DTYPES:
            raise InvalidArgumentError(
                f"{file} holds {dtype.name}; imports take unsigned 8 or 16 bit. Convert it first.",
                path=file,
            )
        _check_whole(file, tiff, series[0])
        size = y * x * dtype.itemsize
        if size > _MAX_PAGE_BYTES:
            raise InvalidArgumentError(
                f"The pages of {file} hold {size} bytes each, more than the {_MAX_PAGE_BYTES} "
                "that are read at once. Cut them into smaller ones.",
                path=file,
            )
        return TiffStack((file,), (z, y, x), dtype, voxel_size.of_tiff(tiff))


def _check_channels(file: Path, tiff: Any, series: list[Any]) -> None:
    if len(series) > 1:
        sizes = ", ".join(str(part.shape) for part in series[:4])
        raise InvalidArgumentError(
            f"The pages of {file} differ in size or type ({sizes}); all must be alike.", path=file
        )
    axes, shape = series[0].axes, series[0].shape
    description = str(tiff.pages[0].description or "")
    channels = shape[axes.index("C")] if "C" in axes else 1
    sections = times = 1
    if "<OME" in description[:2000]:
        channels, sections, times = (_ome_extent(description, axis) for axis in "CZT")
    colour = "S" in axes or 1 < channels <= _MAX_CHANNELS or (channels > 1 and sections > 1)
    if colour or (times > 1 and sections > 1) or len(shape) not in (2, 3):
        raise InvalidArgumentError(
            f"{file} has the extents {shape} on the axes {axes}, with {channels} channel(s) and "
            f"{times} time(s): colour, several channels or a time series. Imports take "
            "single-channel stacks (ZYX); convert or split it first.",
            path=file,
        )


def _ome_extent(description: str, axis: str) -> int:
    found = re.search(rf'\bSize{axis}="(\d{{1,9}})"', description)
    return int(found[1]) if found else 1


def _check_whole(file: Path, tiff: Any, series: Any) -> None:
    """Finds a cut-off file by offsets alone."""
    end = tiff.filehandle.size
    if series.dataoffset is not None:
        whole = series.dataoffset + series.nbytes <= end
    else:
        whole = True
        for page in series.pages:
            if page is None:
                whole = False
                break
            parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
            whole &= all(count > 0 and start + count <= end for start, count in parts)
            if page.keyframe.compression == _UNCOMPRESSED:
                whole &= sum(count for _, count in parts) >= page.nbytes
    if not whole or _next_page_offset(tiff) != 0:
        raise InvalidArgumentError(
            f"{file} is cut off or damaged: its pages do not end inside the file. Copy it again.",
            path=file,
        )


def _next_page_offset(tiff: Any) -> int:
    """Where the last page that could be read says that the next one begins; 0 ends the chain."""
    layout, handle = tiff.tiff, tiff.filehandle
    handle.seek(tiff.pages[-1].offset)
    (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
    handle.seek(tiff.pages[-1].offset + layout.tagnosize + tags * layout.tagsize)
    (offset,) = struct.unpack(layout.offsetformat, handle.read(layout.offsetsize))
    return int(offset)


def _page(tiff: Any, series: list[Any], n: int, extent: tuple[int, int]) -> NDArray[Any]:
    if series[0].dataoffset is not None:
        dtype = np.dtype(series[0].dtype).newbyteorder(tiff.byteorder)
        offset = series[0].dataoffset + n * extent[0] * extent[1] * dtype.itemsize
        # Not mapped: a file that shrinks while it is read must be an error, not a crash.
        plain = np.fromfile(tiff.filehandle.path, dtype, extent[0] * extent[1], offset=offset)
        return plain.reshape(extent)
    page: NDArray[Any] = series[0].pages[n].asarray(maxworkers=1)
    return page.reshape(extent)
