"""Instances that touch, cut at their necks: a watershed from cores, in a block with a halo.

A core is a connected part of the voxels that lie at least half the neck's width from the border
of their class. That is a local property, so every block finds the same cores, and which cores are
one is settled over the whole volume as for any connected component. The flooding from the cores
is what a block does with its own view: it sees cores as far as the halo reaches.
"""

from collections.abc import Callable
from math import ceil
from typing import Any

import edt
import numpy as np
from numpy.typing import NDArray

from biosegment.client.geometry import ZYX, Box
from biosegment.inference.instances.child.fragments import Fragments, components
from biosegment.inference.instances.child.overlap import grown
from biosegment.inference.instances.recipe import Recipe

# skimage's word for neighbours that share a face; a face or an edge; any of these or a corner.
_RANK = {6: 1, 18: 2, 26: 3}
# A neck and its shoulders: from a voxel that is no core the way to one is seldom longer.
_FLOOD_WIDTHS = 2.0


def margins(recipe: Recipe) -> tuple[ZYX, ZYX]:
    """Voxels (z, y, x) of halo: for the flooding, and beyond it for the distances to be true."""
    flood = [ceil(_FLOOD_WIDTHS * recipe.split_nm / size) + 1 for size in recipe.voxel_size]
    reach = [ceil(recipe.split_nm / 2 / size) + 1 for size in recipe.voxel_size]
    return (flood[0], flood[1], flood[2]), (reach[0], reach[1], reach[2])


def split(read: Callable[[Box], NDArray[np.uint8]], box: Box, recipe: Recipe) -> Fragments:
    """Labels a box: first the ids with a core, then parts that no core within the halo reaches.

    Args:
        read: Gives the values of a box, 0 where no class is looked at, axes ZYX.
        box: The extended box of a block.
        recipe: How; split_nm is the width of a neck.
    """
    flood, reach = margins(recipe)
    seen = grown(box, flood, recipe.shape)
    measured = grown(seen, reach, recipe.shape)
    values = read(measured)
    half = recipe.split_nm / 2
    inner = seen.relative_to(measured.start).slices
    distance = edt.edt(values, anisotropy=recipe.voxel_size, black_border=False, parallel=1)
    # Distances beyond half a neck are cut off: only they depend on what lies outside.
    distance = np.minimum(distance[inner], half)
    values = np.ascontiguousarray(values[inner])
    core = (distance >= half) & (values > 0)
    markers = components(values * core, recipe.connectivity)
    highest = int(markers.max())
    labels = _flood(-distance, markers, values, _RANK[recipe.connectivity])
    rest = components(values * (labels == 0), recipe.connectivity)
    labels = np.where(rest > 0, rest + np.uint32(highest), labels)
    place = box.relative_to(seen.start).slices
    labels, core_here = labels[place], core[place]
    used = np.bincount(labels.reshape(-1), minlength=highest + 1) > 0
    used[0] = False
    renumbered = (np.cumsum(used) * used).astype(np.uint32)
    far = used[: highest + 1] & (
        np.bincount(labels[core_here].reshape(-1), minlength=highest + 1)[: highest + 1] == 0
    )
    return Fragments(
        values=np.ascontiguousarray(values[place]),
        labels=renumbered[labels],
        cores=int(used[: highest + 1].sum()),
        firm=core_here,
        anchors=_anchors(markers, far, renumbered, seen.start),
    )


def _flood(
    height: NDArray[Any], markers: NDArray[np.uint32], values: NDArray[np.uint8], rank: int
) -> NDArray[np.uint32]:
    """Watershed class by class, so that no flood crosses from one into another."""
    from skimage import segmentation

    watershed: Any = segmentation.watershed
    flooded = np.zeros(values.shape, np.uint32)
    present = np.bincount(values.reshape(-1), minlength=256)
    for value in np.flatnonzero(present[1:]) + 1:
        mask = values == value
        own = (markers * mask).astype(np.int32)
        if own.any():
            flooded += watershed(height, own, mask=mask, connectivity=rank).astype(np.uint32)
    return flooded


def _anchors(
    markers: NDArray[np.uint32], far: NDArray[np.bool_], renumbered: NDArray[np.uint32], start: ZYX
) -> NDArray[np.int64]:
    """The first voxel of each core that is far: rows (id, z, y, x)."""
    where = np.flatnonzero(far[markers])
    ids, first = np.unique(markers.reshape(-1)[where], return_index=True)
    places = np.stack(np.unravel_index(where[first], markers.shape), axis=1) + np.array(start)
    return np.concatenate([renumbered[ids].astype(np.int64)[:, None], places], axis=1)
