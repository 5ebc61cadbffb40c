"""How large voxels are: what files say, what people say, and whether the two agree."""

from collections.abc import Iterable
from math import isfinite
from typing import Any

from biosegment.client.errors import InvalidArgumentError
from biosegment.v1 import types_pb2

Found = tuple[float | None, float | None, float | None]
"""Nanometres along (z, y, x); None where the file does not say."""

_NANOMETRES = {
    **dict.fromkeys(("nm", "nanometer", "nanometre", "nanometers", "nanometres", "NM"), 1.0),
    # The micro sign, the Greek letter, and how ImageJ writes the former.
    **dict.fromkeys(("um", "µm", "μm", "\\u00b5m", "\\u00B5m", "UM", "micron", "microns"), 1e3),
    **dict.fromkeys(("micrometer", "micrometre", "micrometers", "micrometres"), 1e3),
    **dict.fromkeys(("pm", "picometer", "picometre", "picometers", "picometres"), 1e-3),
    # The letter, the sign for the unit, and what is left of either in ASCII.
    **dict.fromkeys(("Å", "å", "\u212b", "A", "angstrom", "angstroms", "\\u00c5", "\\u00C5"), 0.1),
    **dict.fromkeys(("mm", "MM", "millimeter", "millimetre", "millimeters", "millimetres"), 1e6),
    **dict.fromkeys(("cm", "CM", "centimeter", "centimetre"), 1e7),
    **dict.fromkeys(("dm", "decimeter", "decimetre"), 1e8),
    **dict.fromkeys(("m", "meter", "metre", "meters", "metres"), 1e9),
    **dict.fromkeys(("inch", "in", "inches"), 2.54e7),
    "fm": 1e-6,
    "thou": 2.54e4,
}
_SHORT = 2
# No microscope that this platform is for has smaller or larger voxels: an atom, and a centimetre.
SMALLEST, LARGEST = 0.1, 1e7
# What is written with few digits differs by less.
_SAME = 0.01
_AXES = "zyx"


def nanometres(value: Any, unit: str) -> float | None:
    """A length in nanometres; None where it is no length, or its unit none that is known.

    Units of one or two letters count as they are written: Mm is no millimetre.
    """
    text = unit.strip().strip('"')
    factor = _NANOMETRES.get(text)
    if factor is None and len(text) > _SHORT:
        factor = _NANOMETRES.get(text.lower())
    try:
        size = float(value) * factor if factor is not None else 0.0
    except (TypeError, ValueError):
        return None
    # Resolutions are fractions of 32 bit integers: more digits than these are noise.
    return float(f"{size:.7g}") if isfinite(size) and size > 0 else None


def decide(
    given: types_pb2.VoxelSize | None, found: Found, path: str
) -> tuple[types_pb2.VoxelSize, list[str]]:
    """The voxel size to use, as given, else as found; and what is to be said about it.

    Raises:
        InvalidArgumentError: It makes no sense, or nobody says.
    """
    if given is not None:
        sizes = (given.z, given.y, given.x)
        _check(sizes, f"The voxel size {_text(sizes)} (z, y, x)", found)
        return given, _doubts(sizes, found, path)
    if None in found:
        missing = ", ".join(axis for axis, v in zip(_AXES, found, strict=True) if v is None)
        raise InvalidArgumentError(
            f"{path} does not say how large its voxels are along {missing}; give the voxel size in "
            "nanometres with --voxel-size z,y,x.",
            field="spec.voxel_size",
        )
    sizes = (found[0] or 0, found[1] or 0, found[2] or 0)
    _check(sizes, f"The voxel size {_text(sizes)} (z, y, x) that {path} gives")
    return types_pb2.VoxelSize(z=sizes[0], y=sizes[1], x=sizes[2]), []


def compare(sizes: tuple[float, float, float], found: Found, path: str, owner: str) -> list[str]:
    """What is to be said where a file of labels disagrees with its data set.

    Args:
        sizes: Of the data set, nanometres (z, y, x).
        found: In the file.
        path: Of the file.
        owner: What the sizes are of.
    """
    if _agree(sizes, found):
        return []
    said = f"{path} says that its voxels are {_text(found)} nm (z, y, x), but those of {owner} are"
    return [f"{said} {_text(sizes)} nm; the labels were laid on them voxel by voxel."]


def _check(sizes: tuple[float, float, float], what: str, found: Found = (None,) * 3) -> None:
    if all(isfinite(v) and SMALLEST <= v <= LARGEST for v in sizes):
        return
    thousand = [v * 1e3 for v in sizes]
    micrometres = all(isfinite(v) and SMALLEST <= v <= LARGEST for v in thousand)
    known = all(v is not None for v in found)
    hint = ""
    if micrometres:
        hint = f" If these are micrometres, it is {_text(thousand)}."
    elif known:
        hint = f" The file says {_text(found)}."
    raise InvalidArgumentError(
        f"{what} must lie between {SMALLEST} nm and {LARGEST:.0e} nm on each axis.{hint}",
        field="spec.voxel_size",
    )


def _doubts(sizes: tuple[float, float, float], found: Found, path: str) -> list[str]:
    z, y, x = sizes
    if not _agree(sizes, found):
        said = f"{path} says that its voxels are {_text(found)} nm (z, y, x), not {_text(sizes)}"
        if _agree((x, y, z), found):
            why = "; the given one looks like x,y,z, and --voxel-size takes z,y,x"
        elif any(_agree((z * f, y * f, x * f), found) for f in (1e3, 1e-3)):
            why = "; one of the two looks like another unit, and --voxel-size takes nanometres"
        elif any(_agree((z * f, y * f, x * f), found) for f in (10.0, 0.1)):
            why = "; one of the two looks like ångströms, and --voxel-size takes nanometres"
        else:
            why = ""
        return [f"{said}{why}. The given one was used."]
    silent = found[0] is None
    if silent and _same(z, y) and not _same(y, x) and x > y:
        said = f"The voxel size {_text(sizes)} nm makes columns longer than rows and sections"
        return [f"{said}; if it is x,y,z, import again with --voxel-size z,y,x."]
    return []


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= _SAME * max(abs(one), abs(other))


def _agree(sizes: tuple[float, float, float], found: Found) -> bool:
    return all(v is None or _same(s, v) for s, v in zip(sizes, found, strict=True))


def _text(sizes: Iterable[float | None]) -> str:
    return ", ".join("?" if v is None else f"{v:.6g}" for v in sizes)
