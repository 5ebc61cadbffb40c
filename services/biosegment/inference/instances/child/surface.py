"""Surface areas by the Crofton formula in 13 directions.

The area of a surface is twice the mean, over all directions, of how often lines of a direction
cross it per unit of area across them. The lines are those through voxel centres along the 13
directions to a voxel's neighbours, each weighted with the part of the sphere that is nearest to it
(G. Lang, J. Ohser, "On the estimation of surface area", 2001; D. Legland, K. Kiêu, M.-F. Devaux,
"Computation of Minkowski measures on 2D and 3D binary images", Image Anal. Stereol. 26, 2007).
Crossings are whole numbers, so what blocks count adds up exactly, in any order.
"""

from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.geometry import ZYX

DIRECTIONS: tuple[ZYX, ...] = tuple(
    (z, y, x) for z, y, x in product((-1, 0, 1), repeat=3) if (z, y, x) > (0, 0, 0)
)


def areas_per_crossing(voxel_size: tuple[float, float, float]) -> NDArray[np.float64]:
    """What one crossing along each direction adds to the area, in square nanometres.

    Args:
        voxel_size: In nanometres, (z, y, x).
    """
    from scipy.spatial import SphericalVoronoi

    steps = np.array(DIRECTIONS) * np.array(voxel_size)
    lengths = np.linalg.norm(steps, axis=1)
    unit = steps / lengths[:, None]
    around = SphericalVoronoi(np.concatenate([unit, -unit])).calculate_areas() / (4 * np.pi)
    weights = around[: len(unit)] + around[len(unit) :]
    # Through each voxel goes one line of a direction: so much area across it is one line's.
    across = prod(voxel_size) / lengths
    found: NDArray[np.float64] = 2 * weights * across
    return found


def crossings(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """How often lines leave or enter each label.

    Pairs of voxels are counted by the first corner of the box they span; corners are all voxels
    but those of the last layers.

    Args:
        labels: Ids below count, 0 for nothing, axes ZYX, with one layer beyond the last corners.
        count: How many ids there are, 0 included.

    Returns:
        Rows by id, columns by direction.
    """
    found = np.zeros((count, len(DIRECTIONS)), np.int64)
    corners = [n - 1 for n in labels.shape]
    for column, step in enumerate(DIRECTIONS):
        first = tuple(
            slice(1, n + 1) if s < 0 else slice(0, n) for s, n in zip(step, corners, strict=True)
        )
        second = tuple(
            slice(1, n + 1) if s > 0 else slice(0, n) for s, n in zip(step, corners, strict=True)
        )
        a, b = labels[first], labels[second]
        different = a != b
        for side in (a, b):
            found[:, column] += np.bincount(side[different], minlength=count)
    found[0] = 0
    return found
