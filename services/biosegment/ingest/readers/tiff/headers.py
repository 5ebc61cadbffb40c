"""The images that a TIFF file's description speaks of, compared with the pages that are there."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from biosegment.ingest.readers.tiff import ome
from biosegment.ingest.readers.tiff.facts import PageFacts

Axes = tuple[tuple[str, int], ...]
_COUNT = re.compile(r"-?\d{1,15}")
# Formats of their own that tifffile sorts into axes; the rest is read page by page.
_SORTED = ("is_lsm", "is_stk", "is_fluoview", "is_sis", "is_scanimage", "is_mmstack", "is_ndtiff")


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a file.

    Attributes:
        axes: The axes before rows and columns that are longer than 1, with their extents.
        planes: Numbers of its pages, in C order of the axes. In a file of virtual pages they count
            what lies behind the only page.
        name: What the header calls it.
        sizes: Voxel size in nanometres, where the header has one for each image.
    """

    axes: Axes
    planes: tuple[int, ...]
    name: str = ""
    sizes: tuple[float | None, float | None, float | None] | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """What a header describes.

    Attributes:
        images: In the order of the header; empty where it cannot be trusted.
        trouble: How header and pages contradict each other; empty where they agree.
        virtual: Whether one page stands for all, whose voxels follow those of the first.
    """

    images: tuple[Image, ...]
    trouble: str = ""
    virtual: bool = False


def describe(tiff: Any, facts: Sequence[PageFacts], name: str, *, in_folder: bool) -> Described:
    """The images of a file.

    Args:
        tiff: An open tifffile.TiffFile.
        facts: Of its pages, previews included.
        name: Of the file.
        in_folder: Whether the pages that a header places in other files are expected there.
    """
    text = str(tiff.pages[0].description or "")
    pages = [page.index for page in facts if not page.reduced]
    if ome.is_ome(text):
        return _ome(text, len(facts), pages, name, in_folder=in_folder)
    room = _room(tiff, facts)
    imagej = tiff.imagej_metadata or {}
    if imagej:
        return _counted("ImageJ", _imagej(imagej), pages, room)
    if _shape_of(text) is not None:
        return _shaped(tiff, facts, pages, room)
    # Only of these: of pages that differ in how they are stored, tifffile fails to make series.
    if any(getattr(tiff, kind, False) for kind in _SORTED):
        return _sorted(tiff, facts, pages, room)
    return Described(by_size(facts))


def _sorted(tiff: Any, facts: Sequence[PageFacts], pages: list[int], room: int) -> Described:
    """As tifffile sorts the pages of some microscopes' own formats into axes."""
    first = tiff.series[0]
    axes = _squeezed(zip(first.axes[:-2], first.shape[:-2], strict=True))
    if "S" in first.axes:
        return Described(by_size(facts))
    if room > 1:
        return _counted(first.kind, (axes, prod(n for _, n in axes)), pages, room)
    numbers = tuple(int(page.index) for page in first.pages if page is not None)
    if len(tiff.series) > 1 or sorted(numbers) != pages or prod(n for _, n in axes) != len(pages):
        return Described(
            (), f"its {first.kind} header speaks of {len(numbers)} pages, but holds {len(pages)}"
        )
    return Described((Image(axes, numbers),))


def by_size(facts: Sequence[PageFacts]) -> tuple[Image, ...]:
    """Images of the pages of each size, where no header says more."""
    groups: dict[tuple[int, int], list[int]] = {}
    for page in facts:
        if not page.reduced:
            groups.setdefault(page.size, []).append(page.index)
    return tuple(
        Image((("Z", len(pages)),) if len(pages) > 1 else (), tuple(pages))
        for pages in groups.values()
    )


def _room(tiff: Any, facts: Sequence[PageFacts]) -> int:
    """How many pages the data behind the only page of a file have room for; 0 if it is not so."""
    if len(facts) != 1 or not facts[0].contiguous:
        return 0
    page = tiff.pages[0]
    return int((tiff.filehandle.size - page.dataoffsets[0]) // page.nbytes) if page.nbytes else 0


def _squeezed(axes: Any) -> Axes:
    return tuple((str(axis), int(n)) for axis, n in axes if n != 1)


def _imagej(metadata: dict[str, Any]) -> tuple[Axes, int]:
    """Axes (T, Z, C order of the pages: C fastest) and the number of pages it speaks of."""
    counts = {}
    for key in ("images", "slices", "channels", "frames"):
        text = str(metadata.get(key, 1))
        counts[key] = int(text) if _COUNT.fullmatch(text) else 1
    axes = _squeezed([("T", counts["frames"]), ("Z", counts["slices"]), ("C", counts["channels"])])
    if not axes and counts["images"] > 1:
        axes = (("Z", counts["images"]),)
    return axes, max(counts["images"], prod(n for _, n in axes))


def _counted(kind: str, header: tuple[Axes, int], pages: list[int], room: int) -> Described:
    """One image of so many pages in a row."""
    axes, count = header
    planes = prod(n for _, n in axes)
    if planes != count:
        return Described((), f"its {kind} header speaks of {count} pages and of {planes}")
    if count == len(pages):
        return Described((Image(axes, tuple(pages)),))
    if room > 1 or (room and count > len(pages)):
        if count <= room:
            return Described((Image(axes, tuple(range(count))),), virtual=True)
        return Described((), f"its {kind} header speaks of {count} pages, but has voxels of {room}")
    return Described((), f"its {kind} header speaks of {count} pages, but holds {len(pages)}")


def _shape_of(text: str) -> tuple[tuple[int, ...], str] | None:
    """Shape and axes of tifffile's own description."""
    if text.startswith("shape=("):
        numbers = re.findall(r"\d{1,15}", text[: text.find(")") + 1])
        return (tuple(int(n) for n in numbers), "") if numbers else None
    if not text.startswith('{"shape":'):
        return None
    try:
        found = json.loads(text)
        shape = tuple(int(n) for n in found["shape"])
        axes = found.get("axes", "")
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    fits = isinstance(axes, str) and len(axes) == len(shape)
    return shape, axes.upper() if fits else ""


def _shaped(tiff: Any, facts: Sequence[PageFacts], pages: list[int], room: int) -> Described:
    """The arrays that tifffile was given, one after the other."""
    images: list[Image] = []
    position = 0
    while position < len(facts):
        page = facts[position]
        found = _shape_of(str(tiff.pages[page.index].description or ""))
        if found is None:
            return Described(
                (), f"page {position + 1} belongs to nothing that its headers describe"
            )
        shape, names = found
        inner = len(tiff.pages[page.index].shape)
        axes = _squeezed(zip((names or "Q" * len(shape))[:-inner], shape[:-inner], strict=True))
        count = prod(n for _, n in axes)
        if room and count > 1:
            if count > room:
                return Described(
                    (), f"its header speaks of {count} pages, but has voxels of {room}"
                )
            return Described((Image(axes, tuple(range(count))),), virtual=True)
        planes = tuple(n.index for n in facts[position : position + count])
        if len(planes) < count or any(facts[n].size != page.size for n in planes):
            return Described((), f"its header speaks of {count} pages, but holds {len(pages)}")
        if not page.reduced:
            images.append(Image(axes, planes))
        position += max(count, 1)
    return Described(tuple(images))


def _ome(text: str, count: int, pages: list[int], name: str, *, in_folder: bool) -> Described:
    try:
        found = ome.images(text, count, name)
    except ValueError as error:
        return Described((), f"its OME header cannot be read: {error}")
    images: list[Image] = []
    used: set[int] = set()
    for image in found:
        planes = tuple(image.planes[key] for key in sorted(image.planes))
        if any(plane not in pages for plane in planes):
            return Described((), f"its OME header speaks of pages that are not among {len(pages)}")
        used.update(planes)
        axes = _squeezed(zip("TCZ", image.extents, strict=True))
        wanted = prod(image.extents)
        if len(planes) < wanted:
            if not (in_folder and len(planes) + image.elsewhere == wanted and planes):
                there = (
                    f"{image.elsewhere} in other files" if image.elsewhere else "the rest missing"
                )
                return Described(
                    (),
                    f"its OME header speaks of {wanted} pages, of which {len(planes)} are here and "
                    f"{there}",
                )
            axes = _squeezed([("Z", len(planes))])
        images.append(Image(axes, planes, image.name, image.sizes))
    if used != set(pages):
        return Described((), f"its OME header speaks of {len(used)} pages, but holds {len(pages)}")
    return Described(tuple(images))


def renamed(image: Image, letters: str) -> Image:
    """The image with other names for its axes, as many as it has."""
    names = zip(letters, (n for _, n in image.axes), strict=True)
    return replace(image, axes=tuple(names))
