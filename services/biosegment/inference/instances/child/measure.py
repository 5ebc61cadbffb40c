"""What is measured of instances, so that pieces from many blocks add up exactly."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cc3d
import fastremap
import numpy as np
from numpy.typing import NDArray

from biosegment.client.geometry import ZYX, Box
from biosegment.inference.instances.child.surface import DIRECTIONS, crossings


@dataclass(frozen=True, slots=True)
class Pieces:
    """Whole numbers by instance, int64.

    Attributes:
        ids: The instances.
        voxels: Voxels.
        sums: Sums of their places (z, y, x) in the volume.
        starts: First place along each axis.
        stops: After the last one.
        crossings: As ``surface.crossings`` counts them.
    """

    ids: NDArray[np.int64]
    voxels: NDArray[np.int64]
    sums: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    crossings: NDArray[np.int64]


def measure(labels: NDArray[np.uint32], box: Box, shape: ZYX) -> Pieces:
    """Measures a block.

    Args:
        labels: Instances over the extended box, axes ZYX; 0 for none.
        box: The block.
        shape: Extent of the volume; surfaces close where it cuts an instance.
    """
    compact, names = fastremap.renumber(labels, preserve_zero=True)
    ids = np.zeros(1 + len(names.keys() - {0}), np.int64)
    for name, place in names.items():
        ids[int(place)] = int(name)
    if len(ids) == 1:
        return total([], 0)
    z, y, x = box.shape
    own = np.ascontiguousarray(compact[:z, :y, :x])
    counted = _statistics(own, len(ids))
    closed = np.pad(
        compact,
        [(int(a == 0), int(b == n)) for a, b, n in zip(box.start, box.stop, shape, strict=True)],
    )
    origin = np.array(box.start)
    voxels = counted["voxels"]
    made = Pieces(
        ids=ids,
        voxels=voxels,
        sums=counted["sums"] + voxels[:, None] * origin,
        starts=counted["starts"] + origin,
        stops=counted["stops"] + origin,
        crossings=crossings(closed, len(ids)),
    )
    # Ids beyond the far faces have crossings here, if no voxels.
    there = (ids > 0) & ((voxels > 0) | made.crossings.any(axis=1))
    return Pieces(*(getattr(made, name)[there] for name in Pieces.__slots__))


def _statistics(own: NDArray[np.uint32], count: int) -> dict[str, NDArray[np.int64]]:
    voxels = np.bincount(own.reshape(-1), minlength=count)
    if count >= own.size:
        # cc3d takes no id as high as there are voxels, as those beyond a small block can be.
        own = np.pad(own, [(0, -(-count // own[0].size)), (0, 0), (0, 0)])
    found: Any = cc3d.statistics(own, no_slice_conversion=True)
    given = len(found["voxel_counts"])
    made = {"voxels": voxels}
    for name in ("sums", "starts", "stops"):
        made[name] = np.zeros((count, 3), np.int64)
    here = voxels[:given] > 0
    # A centroid times its count is a whole number again.
    sums = found["centroids"][here] * voxels[:given][here, None]
    bounds = found["bounding_boxes"][here].astype(np.int64)
    made["sums"][:given][here] = np.rint(sums)
    made["starts"][:given][here] = bounds[:, ::2]
    made["stops"][:given][here] = bounds[:, 1::2] + 1
    return made


def total(pieces: Iterable[Pieces], count: int) -> Pieces:
    """Adds pieces up.

    Args:
        pieces: Of every block, in any order.
        count: How many instances there are; their ids are 1 to this.
    """
    whole = Pieces(
        ids=np.arange(1, count + 1),
        voxels=np.zeros(count, np.int64),
        sums=np.zeros((count, 3), np.int64),
        starts=np.full((count, 3), np.iinfo(np.int64).max),
        stops=np.zeros((count, 3), np.int64),
        crossings=np.zeros((count, len(DIRECTIONS)), np.int64),
    )
    for piece in pieces:
        at = piece.ids - 1
        whole.voxels[at] += piece.voxels
        whole.sums[at] += piece.sums
        whole.crossings[at] += piece.crossings
        inside = piece.voxels > 0
        at = at[inside]
        whole.starts[at] = np.minimum(whole.starts[at], piece.starts[inside])
        whole.stops[at] = np.maximum(whole.stops[at], piece.stops[inside])
    return whole
