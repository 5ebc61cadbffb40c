"""What a TIFF file says about the size of its voxels."""

import re
from math import isfinite
from typing import Any

from biosegment.client.errors import InvalidArgumentError
from biosegment.v1 import types_pb2

Found = tuple[float | None, float | None, float | None]
"""Nanometres along (z, y, x); None where the file does not say."""

_NANOMETRES = {
    **dict.fromkeys(("nm", "nanometer", "nanometre", "nanometers", "nanometres"), 1.0),
    **dict.fromkeys(("um", "µm", "μm", "\\u00b5m", "micron", "microns"), 1e3),
    **dict.fromkeys(("micrometer", "micrometre", "micrometers", "micrometres"), 1e3),
    **dict.fromkeys(("å", "angstrom"), 0.1),
    "mm": 1e6,
    "cm": 1e7,
    "inch": 2.54e7,
}
_TIFF_UNITS = {2: "inch", 3: "cm"}
# Programs that know no pixel size write 72, 96 or 300 dots per inch.
_PRINTER_NANOMETRES = 1e4
_MAX_NANOMETRES = 1e9


def of_tiff(tiff: Any) -> Found:
    """Voxel size by ImageJ's metadata, OME-XML, or the TIFF resolution.

    Args:
        tiff: An open tifffile.TiffFile.
    """
    page = tiff.pages[0]
    description = str(page.description or "")
    if "<OME" in description[:2000]:
        z, y, x = (_ome(description, axis) for axis in "ZYX")
        return z, y, x
    imagej = tiff.imagej_metadata or {}
    if imagej:
        unit = str(imagej.get("unit", ""))
        return (
            _nanometres(imagej.get("spacing"), unit),
            _nanometres(_pitch(page, "YResolution"), unit),
            _nanometres(_pitch(page, "XResolution"), unit),
        )
    tag = page.tags.get("ResolutionUnit")
    unit = _TIFF_UNITS.get(int(tag.value), "") if tag is not None else ""
    y, x = (_nanometres(_pitch(page, f"{axis}Resolution"), unit) for axis in "YX")
    plausible = y is not None and x is not None and max(y, x) < _PRINTER_NANOMETRES
    return (None, y, x) if plausible else (None, None, None)


def _ome(description: str, axis: str) -> float | None:
    size = re.search(rf'\bPhysicalSize{axis}="([^"]{{1,40}})"', description)
    unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]{{1,40}})"', description)
    # The schema's default unit is the micrometre.
    return _nanometres(size and size[1], unit[1] if unit else "µm")


def _pitch(page: Any, tag_name: str) -> float | None:
    tag = page.tags.get(tag_name)
    try:
        pixels, units = tag.value
        return float(units) / float(pixels)
    except (AttributeError, TypeError, ValueError, ZeroDivisionError):
        return None


def _nanometres(value: Any, unit: str) -> float | None:
    factor = _NANOMETRES.get(unit.strip().lower())
    try:
        size = float(value) * factor if factor is not None else 0.0
    except (TypeError, ValueError):
        return None
    # Resolutions are fractions of 32 bit integers: more digits than these are noise.
    return float(f"{size:.7g}") if isfinite(size) and 0 < size <= _MAX_NANOMETRES else None


def decide(given: types_pb2.VoxelSize | None, found: Found, path: str) -> types_pb2.VoxelSize:
    """The voxel size to use: as given, else as found.

    Raises:
        InvalidArgumentError: The given one makes no sense, or nobody says.
    """
    if given is not None:
        sizes = (given.z, given.y, given.x)
        if not all(isfinite(v) and 0 < v <= _MAX_NANOMETRES for v in sizes):
            raise InvalidArgumentError(
                f"The voxel size {sizes} (z, y, x) must be greater than 0 nm on each axis.",
                field="spec.voxel_size",
            )
        return given
    if None in found:
        missing = ", ".join(axis for axis, v in zip("zyx", found, strict=True) if v is None)
        raise InvalidArgumentError(
            f"{path} does not say how large its voxels are along {missing}; give the voxel size in "
            "nanometres (z, y, x) with the import.",
            field="spec.voxel_size",
        )
    return types_pb2.VoxelSize(z=found[0] or 0, y=found[1] or 0, x=found[2] or 0)
