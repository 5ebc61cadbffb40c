"""The labels of one block, under ids of the block's own."""

from dataclasses import dataclass, field
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray


def _no_anchors() -> NDArray[np.int64]:
    return np.empty((0, 4), np.int64)


@dataclass(frozen=True, slots=True)
class Fragments:
    """A labelled block: what of each instance lies in it.

    Attributes:
        values: Class values of the extended box, 0 where no class is looked at; axes ZYX.
        labels: Ids of the block's own, uint32, axes ZYX, over the extended box; 0 is nothing.
        wholes: By id: fragments with the same number here are one; None means each is by itself.
        cores: Ids 1 to this hold the core of an instance that is split from its neighbours.
        firm: Where the ids of two blocks name the same thing for certain; None means everywhere.
        anchors: Rows (id, z, y, x) of ids whose core lies outside the extended box: a voxel of
            it, counted in the volume.
    """

    values: NDArray[np.uint8]
    labels: NDArray[np.uint32]
    wholes: NDArray[np.uint32] | None = None
    cores: int = 0
    firm: NDArray[np.bool_] | None = None
    anchors: NDArray[np.int64] = field(default_factory=_no_anchors)


def components(values: NDArray[np.uint8], connectivity: int) -> NDArray[np.uint32]:
    """Connected components of equal values, 0 left out; uint32, ids from 1 on."""
    engine: Any = cc3d.connected_components
    found: NDArray[np.uint32] = engine(
        np.ascontiguousarray(values), connectivity=connectivity, out_dtype=np.uint32
    )
    return found
