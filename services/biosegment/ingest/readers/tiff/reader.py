"""Reads stacks of TIFF pages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.errors import DomainError, InvalidArgumentError
from biosegment.client.geometry import ZYX
from biosegment.ingest.readers.base import MAX_PAGE_BYTES, Reading, Stamp
from biosegment.ingest.readers.tiff import headers, sizes
from biosegment.ingest.readers.tiff.choice import Chosen, choose
from biosegment.ingest.readers.tiff.facts import PageFacts, facts_of, one_plane
from biosegment.ingest.readers.tiff.opening import chain_ends, opened
from biosegment.ingest.readers.tiff.samples import Samples
from biosegment.ingest.voxel_size import Found

_TURNED = range(5, 9)


@dataclass(frozen=True, slots=True, kw_only=True)
class TiffSections:
    """The sections of one file; see ``base.Sections``.

    Attributes:
        planes: Numbers of its pages, or of those whose voxels lie behind the only one.
        virtual: Whether they are of the second kind.
        split: Planes of each page that are sections of their own; 1 where a page is a section.
        labels: Whether its numbers are classes.
        stamp: The file when it was looked at.
    """

    file: Path
    shape: ZYX
    dtype: np.dtype[np.generic]
    voxel_size: Found
    warnings: tuple[str, ...]
    planes: tuple[int, ...]
    virtual: bool
    split: int
    labels: bool
    stamp: Stamp

    def pages(self) -> Iterator[NDArray[Any]]:
        """Yields every section, axes YX, one in memory at a time.

        Each page is decoded by its own tags: tifffile's series and keys read pages that differ in
        how they are stored by the tags of the first, or leave them out.

        Raises:
            InvalidArgumentError: A page cannot be decoded, or the file changed.
        """
        with opened(self.file, self.stamp) as (tiff, _):
            for plane in self.planes:
                try:
                    sections = self._sections(tiff, plane)
                except DomainError:
                    raise
                except Exception as error:  # noqa: BLE001 - decoders raise anything
                    raise InvalidArgumentError(
                        f"Page {plane + 1} of {self.file} cannot be decoded: {error}.",
                        path=self.file,
                    ) from None
                for section in sections:
                    if section.shape != self.shape[1:]:
                        raise InvalidArgumentError(
                            f"Page {plane + 1} of {self.file} came out as {section.shape}, not "
                            f"{self.shape[1:]}.",
                            path=self.file,
                        )
                    yield section

    def _sections(self, tiff: Any, plane: int) -> list[NDArray[Any]]:
        index = 0 if self.virtual else plane
        page = tiff.pages[index]
        facts = facts_of(page, index, self.stamp.size)
        if self.virtual:
            dtype = page.dtype.newbyteorder(tiff.byteorder)
            handle = tiff.filehandle
            # Not mapped: a file that shrinks while it is read must be an error, not a crash.
            handle.seek(page.dataoffsets[0] + plane * page.nbytes)
            plain = np.frombuffer(handle.read(page.nbytes), dtype)
            raw = plain.reshape(page.shape).astype(dtype.newbyteorder("="), copy=False)
        else:
            raw = page.asarray(maxworkers=1)
        facts = one_plane(facts) if self.split > 1 else facts
        meaning = Samples(
            self.file,
            facts,
            tiff.pages,
            labels=self.labels,
            imagej=bool(tiff.is_imagej),
            number=plane,
        )
        return [meaning(part) for part in raw] if self.split > 1 else [meaning(raw)]


class TiffReader:
    """The reader of TIFF files; see ``base.Reader``."""

    suffixes = frozenset({".tif", ".tiff", ".btf", ".tf8"})

    def scan(self, file: Path, reading: Reading, *, in_folder: bool = False) -> TiffSections:
        """Looks at the headers of all pages, without reading their voxels.

        Raises:
            InvalidArgumentError: It is not a TIFF, is cut off, holds several stacks or what is no
                stack of one channel; the sentence says what settles it.
        """
        with opened(file) as (tiff, stamp):
            facts = [facts_of(page, n, stamp.size) for n, page in enumerate(tiff.pages)]
            if not facts:
                raise InvalidArgumentError(f"{file} holds no image.", path=file)
            if not all(page.whole for page in facts) or not chain_ends(tiff):
                raise InvalidArgumentError(
                    f"{file} is cut off or damaged: its pages do not end inside the file. Copy it "
                    "again.",
                    path=file,
                )
            described = headers.describe(tiff, facts, file.name, in_folder=in_folder)
            chosen = choose(file, described, facts, reading)
            return _sections(file, tiff, stamp, facts, chosen, described.virtual, reading)


def _sections(
    file: Path,
    tiff: Any,
    stamp: Stamp,
    facts: Sequence[PageFacts],
    chosen: Chosen,
    virtual: bool,
    reading: Reading,
) -> TiffSections:
    planes = chosen.planes
    mine = [facts[0]] if virtual else [facts[plane] for plane in planes]
    split = mine[0].samples if reading.axes == "ZYX" and mine[0].separate else 1
    if split > 1 and all(page.separate and page.samples == split for page in mine):
        mine = [one_plane(page) for page in mine]
    imagej = bool(tiff.is_imagej)
    first = mine[0]
    samples = [
        Samples(file, page, tiff.pages, labels=reading.labels, imagej=imagej) for page in mine
    ]
    dtype = samples[0].dtype
    for page, sample in zip(mine, samples, strict=True):
        if page.size != first.size or sample.dtype != dtype or page.dtype != first.dtype:
            raise InvalidArgumentError(
                f"Page {page.index + 1} of {file} is {_text(page)}, but page {first.index + 1} is "
                f"{_text(first)}; all pages of a stack must have one size and type.",
                path=file,
            )
    held = max(prod(first.size) * first.samples * split * (first.dtype or dtype).itemsize, 1)
    if held > MAX_PAGE_BYTES:
        raise InvalidArgumentError(
            f"The pages of {file} hold {held} bytes each, more than the {MAX_PAGE_BYTES} that are "
            "read at once. Cut them into smaller ones.",
            path=file,
        )
    size = chosen.image.sizes or sizes.of_page(tiff, tiff.pages[first.index])
    if first.orientation in _TURNED:
        size = (size[0], size[2], size[1])
    warnings = (*chosen.warnings, *_told(file, mine, samples, dtype))
    shape = (len(planes) * split, *first.size)
    return TiffSections(
        file=file,
        shape=shape,
        dtype=dtype,
        voxel_size=size,
        warnings=warnings,
        planes=planes,
        virtual=virtual,
        split=split,
        labels=reading.labels,
        stamp=stamp,
    )


def _text(page: PageFacts) -> str:
    kind = page.dtype.name if page.dtype is not None else "unknown type"
    return f"{page.size[0]} × {page.size[1]} of {kind}"


def _told(
    file: Path, pages: Sequence[PageFacts], samples: Sequence[Samples], dtype: np.dtype[np.generic]
) -> Iterator[str]:
    """What became of the numbers on their way, in sentences."""
    first = pages[0]
    if any(sample.inverted for sample in samples):
        yield f"{file} is stored white-is-zero; its grey values were inverted, so that 0 is black."
    if any(sample.palette is not None for sample in samples):
        yield f"{file} has a palette of greys; the grey values were looked up in it."
    if any(page.orientation != 1 for page in pages):
        yield (
            f"{file} says that its first row or column does not lie at the top left (orientation "
            f"{first.orientation}); its pages were turned as it says."
        )
    if first.samples > 1:
        yield f"{file} is stored in colour or with transparency; its one grey channel was taken."
    if first.dtype is not None and dtype.kind == "f" and first.dtype.name != dtype.name:
        yield f"{file} holds {first.dtype.name}; it is stored as float32."
