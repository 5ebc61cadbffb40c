"""What ImageJ's metadata or the resolution of a TIFF page says about the size of its voxels."""

from typing import Any

from biosegment.ingest.voxel_size import Found, nanometres

_UNITS = {2: "inch", 3: "cm"}
# Programs that know no pixel size write 72, 96 or 300 dots per inch.
_PRINTER_NANOMETRES = 1e4


def of_page(tiff: Any, page: Any) -> Found:
    """Voxel size as the page's tags say, columns and rows as they are stored.

    Args:
        tiff: An open tifffile.TiffFile.
        page: A page of it.
    """
    imagej = tiff.imagej_metadata or {}
    if imagej:
        unit = str(imagej.get("unit", ""))
        # ImageJ names the unit of another axis only where it differs.
        return (
            nanometres(_length(imagej.get("spacing")), str(imagej.get("zunit", unit))),
            nanometres(_pitch(page, "YResolution"), str(imagej.get("yunit", unit))),
            nanometres(_pitch(page, "XResolution"), unit),
        )
    tag = page.tags.get("ResolutionUnit")
    unit = _UNITS.get(int(tag.value), "") if tag is not None else ""
    y, x = (nanometres(_pitch(page, f"{axis}Resolution"), unit) for axis in "YX")
    plausible = y is not None and x is not None and max(y, x) < _PRINTER_NANOMETRES
    return (None, y, x) if plausible else (None, None, None)


def _length(value: Any) -> float | None:
    # A stack that was turned over has a negative distance between its sections.
    try:
        return abs(float(value))
    except (TypeError, ValueError):
        return None


def _pitch(page: Any, tag_name: str) -> float | None:
    tag = page.tags.get(tag_name)
    try:
        pixels, units = tag.value
        return float(units) / float(pixels)
    except (AttributeError, TypeError, ValueError, ZeroDivisionError):
        return None
