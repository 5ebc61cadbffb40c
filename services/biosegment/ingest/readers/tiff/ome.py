"""OME-XML, read by an XML parser, as far as an import needs it.

https://docs.openmicroscopy.org/ome-model/
"""

import re

# Documents with a DTD are refused before parsing, and only a DTD can define entities.
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from biosegment.ingest.voxel_size import Found, nanometres

_MAX_CHARACTERS = 64 << 20
_MAX_PLANES = 10_000_000
_Key = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class OmeImage:
    """One image of a document.

    Attributes:
        name: For people.
        extents: (t, c, z), c in pages.
        planes: Page of the file by (t, c, z).
        elsewhere: Planes that lie in other files.
        sizes: Voxel size, nanometres.
    """

    name: str
    extents: tuple[int, int, int]
    planes: dict[_Key, int]
    elsewhere: int
    sizes: Found


def is_ome(text: str) -> bool:
    """Whether a TIFF description is an OME-XML document."""
    return re.search(r"<(\w+:)?OME\b", text[:4000]) is not None


def images(text: str, pages: int, file_name: str) -> list[OmeImage]:
    """The images of a document.

    Args:
        text: The document.
        pages: Pages of the file that it stands in.
        file_name: Of that file.

    Raises:
        ValueError: It is no well-formed document, or says what makes no sense.
    """
    root = _parse(text)
    found = []
    beginning = 0
    for element in root.iterfind("{*}Image"):
        pixels = element.find("{*}Pixels")
        if pixels is None:
            raise ValueError("an image has no Pixels")
        image = _image(root, element.get("Name", ""), pixels, beginning, pages, file_name)
        beginning += len(image.planes)
        found.append(image)
    return found


def _parse(text: str) -> ET.Element:
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"it has more than {_MAX_CHARACTERS} characters")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("it declares entities of its own")
    try:
        return ET.fromstring(text.strip("\0 \r\n\t\ufeff"))  # noqa: S314
    except ET.ParseError as error:
        raise ValueError(f"it is no well-formed XML ({error})") from None


def _number(element: ET.Element, key: str, default: int) -> int:
    text = element.get(key)
    if text is None:
        return default
    if not re.fullmatch(r"\s*\d{1,9}\s*", text):
        raise ValueError(f'{key} is "{text[:40]}"')
    return int(text)


def _image(
    root: ET.Element, name: str, pixels: ET.Element, beginning: int, pages: int, file_name: str
) -> OmeImage:
    extent = {axis: _number(pixels, f"Size{axis}", 1) for axis in "ZCT"}
    channels = pixels.findall("{*}Channel")
    samples = [_number(channel, "SamplesPerPixel", 1) for channel in channels]
    if samples and sum(samples) == extent["C"]:
        extent["C"] = len(samples)
    if not 0 < extent["Z"] * extent["C"] * extent["T"] <= _MAX_PLANES:
        raise ValueError("its extents make no sense")
    order = pixels.get("DimensionOrder", "XYCZT")
    if sorted(order) != sorted("XYCZT") or not order.startswith("XY"):
        raise ValueError(f'DimensionOrder is "{order[:10]}"')
    placed = _Places(order[2:], extent)
    elsewhere = 0
    blocks = pixels.findall("{*}TiffData")
    for block in blocks:
        count = _number(block, "PlaneCount", 1 if block.get("IFD") is not None else -1)
        if _is_elsewhere(root, block, file_name):
            elsewhere += 1 if count < 0 else count
            continue
        first = {axis: _number(block, f"First{axis}", 0) for axis in "ZCT"}
        placed.put(first, _number(block, "IFD", 0), count, pages)
    if not blocks:
        placed.put(dict.fromkeys("ZCT", 0), beginning, -1, pages)
    return OmeImage(
        name, (extent["T"], extent["C"], extent["Z"]), placed.planes, elsewhere, _sizes(pixels)
    )


class _Places:
    """Which page each plane is."""

    def __init__(self, order: str, extent: dict[str, int]) -> None:
        self._order, self._extent = order, extent
        self.planes: dict[_Key, int] = {}

    def put(self, first: dict[str, int], page: int, count: int, pages: int) -> None:
        """Places planes from a first one on; a count of -1 is all that are left."""
        position, step = 0, 1
        for axis in self._order:
            if first[axis] >= self._extent[axis]:
                raise ValueError(f"First{axis} is {first[axis]} of {self._extent[axis]}")
            position += first[axis] * step
            step *= self._extent[axis]
        wanted = step - position if count < 0 else count
        if position + wanted > step:
            raise ValueError(f"a PlaneCount of {count} is more than the image has")
        # What lies behind the end of the file is missing, and counted as such.
        for n in range(min(wanted, max(pages - page, 0))):
            self.planes[self._key(position + n)] = page + n

    def _key(self, position: int) -> _Key:
        at = {}
        for axis in self._order:
            position, at[axis] = divmod(position, self._extent[axis])
        return at["T"], at["C"], at["Z"]


def _is_elsewhere(root: ET.Element, block: ET.Element, file_name: str) -> bool:
    uuid = block.find("{*}UUID")
    if uuid is None:
        return False
    same = (uuid.text or "").strip() == (root.get("UUID") or "-").strip()
    return not same and uuid.get("FileName") not in (None, file_name)


def _sizes(pixels: ET.Element) -> Found:
    z, y, x = (
        # The schema's default unit is the micrometre.
        nanometres(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        for axis in "ZYX"
    )
    return z, y, x
