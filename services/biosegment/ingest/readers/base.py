"""What a reader of a file format gives: sections, axes YX, and what is to be said about them."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import ZYX
from biosegment.ingest.voxel_size import Found
from biosegment.v1 import jobs_pb2

MAX_PAGE_BYTES = 2 << 30
"""Of one section, as it is in memory."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Answers to what files leave open.

    Attributes:
        labels: Whether numbers are classes, which no tag of the file may change.
        axes: Of the pages; "ZYX" takes every page as a section; "" means as the file says.
        image: Which stack of a file, from 1; 0 means the only one.
        gaps: What to do about gaps in the numbering of a folder.
        files: Pattern of the names that belong to the stack; "" means all.
    """

    labels: bool = False
    axes: str = ""
    image: int = 0
    gaps: int = jobs_pb2.GAP_POLICY_UNSPECIFIED
    files: str = ""

    @classmethod
    def from_spec(cls, spec: jobs_pb2.ImportSpec) -> "Reading":
        """The answers that an import gives.

        Raises:
            InvalidArgumentError: One makes no sense.
        """
        given = spec.reading
        axes = given.axes.upper()
        if axes and not (
            axes.endswith("YX") and len(set(axes)) == len(axes) <= 8 and axes.isalpha()
        ):
            raise InvalidArgumentError(
                f'--axes "{given.axes[:40]}" does not name the axes of pages: rows and columns '
                '(YX) come last, each letter stands once, such as "ZYX" or "TZYX".',
                field="spec.reading.axes",
            )
        if given.image < 0:
            raise InvalidArgumentError(
                f"--image {given.image} is not a number of a stack; they are counted from 1.",
                field="spec.reading.image",
            )
        if given.gaps not in jobs_pb2.GapPolicy.values():
            raise InvalidArgumentError(
                "--gaps is refuse, close or fill.", field="spec.reading.gaps"
            )
        if "/" in given.files or "\0" in given.files:
            raise InvalidArgumentError(
                f'--files "{given.files[:80]}" is not a pattern of names in the folder, such as '
                '"slice_*.tif".',
                field="spec.reading.files",
            )
        labels = spec.WhichOneof("target") == "labels"
        return cls(labels, axes, given.image, given.gaps, given.files)


@dataclass(frozen=True, slots=True)
class Stamp:
    """A file as it was when its headers were looked at."""

    size: int
    modified_ns: int


class Sections(Protocol):
    """The sections that one file gives."""

    @property
    def file(self) -> Path:
        """Where they come from."""

    @property
    def shape(self) -> ZYX:
        """Extent in voxels, (z, y, x)."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of the pages, native byte order."""

    @property
    def voxel_size(self) -> Found:
        """What the file says, nanometres."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever uses the sections should know, in sentences."""

    def pages(self) -> Iterator[NDArray[Any]]:
        """Yields every section from first to last, axes YX, one in memory at a time.

        Raises:
            InvalidArgumentError: A page cannot be decoded, or the file changed.
        """


class Reader(Protocol):
    """Reads one format."""

    @property
    def suffixes(self) -> frozenset[str]:
        """Endings of its files, in small letters, such as ".tif"."""

    def scan(self, file: Path, reading: Reading, *, in_folder: bool = False) -> Sections:
        """Looks at the headers of a file, without reading its voxels.

        Args:
            file: The file.
            reading: Answers to what it leaves open.
            in_folder: Whether what its header places in other files lies beside it.

        Raises:
            InvalidArgumentError: It cannot be read as one stack; the sentence says what settles it.
        """


@dataclass(frozen=True, slots=True)
class Stack:
    """A readable stack: the sections of one file, or those of several behind each other.

    Attributes:
        parts: In order; a number stands for so many missing sections that are filled.
        shape: Extent in voxels, (z, y, x).
        dtype: Of the pages, native byte order.
        voxel_size: What the files say, nanometres.
        warnings: What whoever uses the stack should know, in sentences.
        fill: Value of missing sections.
    """

    parts: tuple[Sections | int, ...]
    shape: ZYX
    dtype: np.dtype[np.generic]
    voxel_size: Found
    warnings: tuple[str, ...] = ()
    fill: int = 0

    @property
    def files(self) -> tuple[Path, ...]:
        """The files it is read from."""
        return tuple(part.file for part in self.parts if not isinstance(part, int))

    def pages(self) -> Iterator[NDArray[Any]]:
        """Yields every page from first to last, axes YX, one in memory at a time.

        Raises:
            InvalidArgumentError: A page cannot be decoded, or a file changed.
        """
        for part in self.parts:
            if isinstance(part, int):
                for _ in range(part):
                    yield np.full(self.shape[1:], self.fill, self.dtype)
            else:
                for page in part.pages():
                    yield page.astype(self.dtype, copy=False)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def open_file(file: Path) -> tuple[IO[bytes], Stamp]:
    """Opens a file to read, without ever waiting for somebody to write it.

    Raises:
        InvalidArgumentError: It is no plain file, or cannot be read.
    """
    try:
        # A pipe or a terminal would block the opening itself.
        handle = open(file, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller closes it
    except OSError as error:
        raise InvalidArgumentError(
            f"{file} cannot be opened: {error.strerror}.", path=file
        ) from None
    status = os.fstat(handle.fileno())
    if not stat.S_ISREG(status.st_mode):
        handle.close()
        raise no_file(file, status.st_mode)
    return handle, Stamp(status.st_size, status.st_mtime_ns)


_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def no_file(path: str | Path, mode: int) -> InvalidArgumentError:
    """The error that something is no plain file."""
    kind = _KINDS.get(stat.S_IFMT(mode), "no file")
    return InvalidArgumentError(
        f"{path} is {kind}; imports read plain files, and folders of them.", path=path
    )
