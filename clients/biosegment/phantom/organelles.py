"""What lies in the cells: mitochondria, dark bodies that are none, and vesicles."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biosegment.phantom.cells import SPACING, WARP_NM, Cells
from biosegment.phantom.noise import F32, Place, uniform_at

TRAITS = 11
"""Uniform numbers that a cell has; which one decides what is said where it is used."""
_MITOCHONDRION, _DARK_BODY, _RADIUS, _LENGTH, _TURN, _LEAN, _PHASE = range(7)
GREY, KIND, MYELIN, MATRIX = 7, 8, 9, 10
_GAP_NM = 24.0
_ROUND_NM = 50.0
_VESICLE_NM, _VESICLE_PITCH = 19.0, 66.0


@dataclass(frozen=True, slots=True)
class Bodies:
    """Capsules in the cells. Arrays have the box's extent, axes ZYX.

    Attributes:
        inside: Nanometres from the surface inwards, negative outside any body.
        body: 1 + index of the cell whose body it is, 0 where none is near.
        along: Nanometres along the body's long axis.
    """

    inside: F32
    body: NDArray[np.int32]
    along: F32


def mitochondria(cells: Cells, place: Place) -> Bodies:
    """A mitochondrion in nearly half of the cells."""
    traits = cells.seeds.traits
    chosen = traits[:, _MITOCHONDRION] < 0.45
    radius = 105 + 95 * traits[:, _RADIUS]
    length = 60 + 620 * traits[:, _LENGTH]
    return _capsules(cells, place, chosen, radius, length)


def dark_bodies(cells: Cells, place: Place) -> Bodies:
    """Lysosome-like bodies in some of the cells without a mitochondrion."""
    traits = cells.seeds.traits
    chosen = (traits[:, _MITOCHONDRION] > 0.5) & (traits[:, _DARK_BODY] < 0.5)
    radius = 70 + 80 * traits[:, _RADIUS]
    return _capsules(cells, place, chosen, radius, 60 * traits[:, _LENGTH])


def _capsules(
    cells: Cells,
    place: Place,
    chosen: NDArray[np.bool_],
    radius: NDArray[np.float64],
    length: NDArray[np.float64],
) -> Bodies:
    inside = np.full(place.shape, -1e4, np.float32)
    body = np.zeros(place.shape, np.int32)
    along = np.zeros(place.shape, np.float32)
    traits = cells.seeds.traits
    for n in np.flatnonzero(chosen):
        centre = cells.seeds.positions[n]
        turn, lean = 2 * np.pi * traits[n, _TURN], np.pi * (traits[n, _LEAN] - 0.5) * 0.8
        axis = np.array([np.sin(lean), np.cos(lean) * np.sin(turn), np.cos(lean) * np.cos(turn)])
        reach = np.abs(axis) * length[n] / 2 + radius[n] + WARP_NM
        window = _window(place, centre, reach)
        if window is None:
            continue
        offset = cells.warped[(slice(None), *window)] - centre[:, None, None, None]
        position = sum(offset[k] * axis[k] for k in range(3))
        over = position - np.clip(position, -length[n] / 2, length[n] / 2)
        square = sum(offset[k] ** 2 for k in range(3)) - position**2
        depth = radius[n] - np.sqrt(np.maximum(square, 0) + over**2)
        # Kept off the cell's own border, so a body never fills its neurite.
        depth = _smooth_minimum(depth, cells.depth[window] - _GAP_NM)
        mine = (cells.cell[window] == n) & (depth > -60)
        inside[window][mine] = depth[mine]
        along[window][mine] = position[mine]
        body[window][mine] = n + 1
    return Bodies(inside, body, along)


def _smooth_minimum(a: NDArray[np.float64], b: F32) -> NDArray[np.float64]:
    """The minimum with its edge rounded off over 50 nm."""
    close = np.maximum(_ROUND_NM - np.abs(a - b), 0) / _ROUND_NM
    return np.minimum(a, b) - close**2 * (_ROUND_NM / 4)


def _window(
    place: Place, centre: NDArray[np.float64], reach: NDArray[np.float64]
) -> tuple[slice, slice, slice] | None:
    found = []
    for n in range(3):
        centres = place.axis(n)
        first = int(np.searchsorted(centres, centre[n] - reach[n]))
        last = int(np.searchsorted(centres, centre[n] + reach[n]))
        if last <= first:
            return None
        found.append(slice(first, last))
    return found[0], found[1], found[2]


def identities(cells: Cells, extent_nm: tuple[float, float, float]) -> NDArray[np.uint32]:
    """A number for each cell around, from 1, the same in every box of one volume.

    Args:
        cells: The partition.
        extent_nm: Extent of the whole volume in nanometres.
    """
    lows = np.array([int(np.floor(-2 * WARP_NM / s)) - 4 for s in SPACING])
    highs = np.array(
        [int((e + 2 * WARP_NM) / s) + 5 for e, s in zip(extent_nm, SPACING, strict=True)]
    )
    counts = highs - lows
    place = np.clip(cells.seeds.nodes - lows, 0, counts - 1)
    linear = (place[:, 0] * counts[1] + place[:, 1]) * counts[2] + place[:, 2]
    numbers: NDArray[np.uint32] = (linear + 1).astype(np.uint32)
    return numbers


def vesicles(seed: int, cells: Cells, where: NDArray[np.bool_]) -> F32:
    """Small round vesicles in a region: 1 at their membrane, -0.6 in their lumen.

    Each cell of a turned and warped lattice holds at most one, wholly, so that no voxel has to
    look at a neighbour.
    """
    shade = np.zeros(where.shape, np.float32)
    if not where.any():
        return shade
    z, y, x = cells.warped[:, where] / _VESICLE_PITCH
    turned = np.stack(
        [0.8 * z + 0.36 * y + 0.48 * x, 0.8 * y - 0.6 * x, -0.6 * z + 0.48 * y + 0.64 * x]
    )
    nodes = np.floor(turned).astype(np.int64)
    middle = (
        _VESICLE_NM
        + 5
        + (_VESICLE_PITCH - 2 * (_VESICLE_NM + 5))
        * np.stack([uniform_at(seed, 200 + n, nodes) for n in range(3)])
    )
    offset = (turned - nodes) * _VESICLE_PITCH - middle
    distance = np.sqrt(np.square(offset).sum(0)).astype(np.float32)
    rim = np.exp(-0.5 * np.square((distance - _VESICLE_NM) / 5.0))
    lumen = np.where(distance < _VESICLE_NM - 6, np.float32(-0.6), np.float32(0))
    shade[where] = np.where(uniform_at(seed, 204, nodes) < 0.7, rim + lumen, 0)
    return shade
