"""Boxes, extents and the like as people type them."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from biosegment.client import Box

BOX_HELP = "z0:z1,y0:y1,x0:x1 in voxels of full resolution; stops are not part of it."
SHAPE_HELP = "z,y,x in voxels."
LabelMap = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        help="number=class where the file counts otherwise: 255=1; 1-=1 for all from 1 up; "
        "255=255 keeps 255 as not labelled. May be repeated.",
    ),
]

_RANGE = r"\s*(\d{1,15})\s*:\s*(\d{1,15})\s*"
_BOX = re.compile(rf"\[?{_RANGE},{_RANGE},{_RANGE}\]?")


def box(text: str) -> "Box":
    """A box.

    Raises:
        typer.BadParameter: It is none, or holds no voxels.
    """
    from biosegment.client import Box

    found = _BOX.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f'"{text}" is not a box: write {BOX_HELP}')
    z0, z1, y0, y1, x0, x1 = (int(number) for number in found.groups())
    if z1 <= z0 or y1 <= y0 or x1 <= x0:
        raise typer.BadParameter(f'"{text}" holds no voxels: each stop must exceed its start.')
    return Box((z0, y0, x0), (z1, y1, x1))


def optional_box(text: str | None) -> "Box | None":
    """A box, if one was given."""
    return None if text is None else box(text)


def shape(text: str | None) -> tuple[int, int, int] | None:
    """An extent "z,y,x", or "y,x" for a single section.

    Raises:
        typer.BadParameter: It is none.
    """
    if text is None:
        return None
    parts = text.replace("×", ",").split(",")
    if len(parts) == 2:
        parts = ["1", *parts]
    if len(parts) != 3 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f'"{text}" is not an extent: write {SHAPE_HELP}')
    z, y, x = (int(part) for part in parts)
    return z, y, x


def voxel_size(text: str | None) -> tuple[float, float, float] | None:
    """A voxel size "z,y,x" in nanometres, or one number for all three.

    Raises:
        typer.BadParameter: It is none.
    """
    if text is None:
        return None
    try:
        sizes = [float(part) for part in text.split(",")]
    except ValueError:
        sizes = []
    if len(sizes) == 1:
        sizes *= 3
    if len(sizes) != 3 or not all(0 < size < 1e9 for size in sizes):
        raise typer.BadParameter(
            f'"{text}" is not a voxel size: write z,y,x in nanometres, such as 30,4,4.'
        )
    z, y, x = sizes
    return z, y, x


def pairs(texts: list[str] | None) -> dict[str, str]:
    """Values given as key=value.

    Raises:
        typer.BadParameter: One has no "=".
    """
    found = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise typer.BadParameter(f'"{text}" is not of the form key=value.')
        found[key.strip()] = value
    return found


def ranges(texts: list[str]) -> dict[str, Any]:
    """Ranges given as name=lowest:highest, with :linear or :log where the usual is not wanted.

    Raises:
        typer.BadParameter: One is none.
    """
    from biosegment.client.verbs.searches import LOGARITHMIC
    from biosegment.v1.jobs_pb2 import SearchParameter

    found = {}
    for name, text in pairs(texts).items():
        parts = [part.strip() for part in text.split(":")]
        try:
            low, high = (float(part) for part in parts[:2])
            scale = {"log": True, "linear": False}[parts[2]] if len(parts) == 3 else None
            if len(parts) > 3:
                raise ValueError
        except (ValueError, KeyError):
            raise typer.BadParameter(
                f'"{text}" is not a range: write lowest:highest, such as '
                f"{name}=0.0001:0.01, and :linear or :log after it if need be."
            ) from None
        logarithmic = name in LOGARITHMIC if scale is None else scale
        found[name] = SearchParameter(low=low, high=high, logarithmic=logarithmic)
    return found


def parameters(texts: list[str] | None) -> dict[str, Any]:
    """Values given as key=value, where a value that reads as JSON is taken as such."""
    import json

    found: dict[str, Any] = {}
    for key, value in pairs(texts).items():
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found
