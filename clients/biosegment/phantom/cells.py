"""The tissue: neurites as a warped Voronoi partition, with their membranes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biosegment.phantom.noise import F32, F64, NM, Place, uniform, value_noise

SPACING: NM = (760.0, 430.0, 430.0)
"""Lattice of the cells' seeds in nanometres; longer along z, where most neurites run."""
WARP_NM = 170.0
"""Largest displacement along each axis."""
_WARP_SCALE: NM = (1000.0, 520.0, 520.0)
_ABSENT = 0.5
_MARGIN = 4


@dataclass(frozen=True, slots=True)
class Seeds:
    """The cells whose seeds lie around a box.

    Attributes:
        positions: (n, 3) nanometres, ZYX, in warped coordinates.
        nodes: (n, 3) lattice indices.
        traits: (n, k) uniform numbers, for whatever a cell needs to decide.
    """

    positions: F64
    nodes: NDArray[np.int64]
    traits: F64


@dataclass(frozen=True, slots=True)
class Cells:
    """The partition of a box. All arrays have the box's extent, axes ZYX.

    Attributes:
        seeds: The cells around.
        cell: Index into seeds of the cell of each voxel, int32.
        depth: Nanometres to the cell's border.
        tilt: Section thickness seen across the border: |cosine| between border normal and z.
        warped: Warped coordinates of the voxels in nanometres, (3, z, y, x).
    """

    seeds: Seeds
    cell: NDArray[np.int32]
    depth: F32
    tilt: F32
    warped: F64


def find_seeds(seed: int, place: Place, traits: int) -> Seeds:
    """The cells' seeds in and around a box."""
    axes = []
    for n in range(3):
        centres = place.axis(n)
        low = int(np.floor((centres[0] - WARP_NM) / SPACING[n])) - _MARGIN
        high = int(np.floor((centres[-1] + WARP_NM) / SPACING[n])) + _MARGIN
        axes.append(np.arange(low, high + 1))
    present = uniform(seed, 100, *axes) >= _ABSENT
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), -1)[present]
    jitter = np.stack([uniform(seed, 101 + n, *axes)[present] for n in range(3)], -1)
    numbers = np.stack([uniform(seed, 110 + n, *axes)[present] for n in range(traits)], -1)
    return Seeds((nodes + 0.1 + 0.8 * jitter) * np.array(SPACING), nodes, numbers)


def partition(seed: int, place: Place, traits: int) -> Cells:
    """Cuts a box into cells."""
    from scipy.spatial import cKDTree

    seeds = find_seeds(seed, place, traits)
    warped = np.empty((3, *place.shape))
    for n in range(3):
        shape = [1, 1, 1]
        shape[n] = -1
        bend = value_noise(seed, 120 + n, place, _WARP_SCALE) * 0.72
        bend += value_noise(seed, 130 + n, place, 170.0) * 0.28
        warped[n] = place.axis(n).reshape(shape) + WARP_NM * bend
    tree = cKDTree(seeds.positions, leafsize=8)
    distance, index = tree.query(warped.reshape(3, -1).T, k=2)
    near, far = seeds.positions[index[:, 0]], seeds.positions[index[:, 1]]
    apart = np.linalg.norm(far - near, axis=1)
    # Distance to the plane halfway between the two nearest seeds.
    depth = (distance[:, 1] ** 2 - distance[:, 0] ** 2) / (2 * apart)
    tilt = np.abs(far[:, 0] - near[:, 0]) / apart
    return Cells(
        seeds,
        index[:, 0].astype(np.int32).reshape(place.shape),
        depth.astype(np.float32).reshape(place.shape),
        tilt.astype(np.float32).reshape(place.shape),
        warped,
    )


def smeared(depth: F32, tilt: F32, sigma: float, section: float) -> F32:
    """Darkness, 0 to 1, of a sheet seen through a section of finite thickness.

    A sheet that stands obliquely in the section is projected over the section's depth: wider and
    fainter, as in serial-section images; a thin section shows it sharp.

    Args:
        depth: Nanometres from the sheet.
        tilt: |cosine| between the sheet's normal and z.
        sigma: Half thickness of the sheet in nanometres.
        section: Section thickness in nanometres.
    """
    spread = np.square(tilt * np.float32(section)) / np.float32(12) + np.float32(sigma**2)
    faint = np.float32(sigma) / np.sqrt(spread)
    shade: F32 = np.sqrt(faint) * np.exp(np.float32(-0.5) * np.square(depth) / spread)
    return shade
