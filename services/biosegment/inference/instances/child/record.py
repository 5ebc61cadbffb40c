"""What a labelled block leaves for the steps that look across blocks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.geometry import ZYX, Box
from biosegment.inference.instances.child.fragments import Fragments

Record = dict[str, NDArray[Any]]


def record(fragments: Fragments, box: Box, shape: ZYX, *, contacts: bool) -> Record:
    """Sums up a block. Its size goes with the fragments.

    Args:
        fragments: The labels of the extended box.
        box: The block.
        shape: Extent of the volume.
        contacts: Count the faces that fragments have in common, to fill holes.

    Returns:
        classes, sizes, touches: By id: class value, voxels within the block, whether it lies at
            the border of the volume (axes of one voxel have none).
        cores: As in ``Fragments``.
        same: Rows of (id, id) that are one instance.
        contacts: Rows of (id, other id, faces in common).
    """
    labels, (z, y, x) = fragments.labels, box.shape
    own = labels[:z, :y, :x]
    count = int(labels.max()) + 1
    classes = np.zeros(count, np.uint8)
    classes[labels.reshape(-1)] = fragments.values.reshape(-1)
    made: Record = {
        "classes": classes,
        "sizes": np.bincount(own.reshape(-1), minlength=count),
        "touches": _touches(own, box, shape, count),
        "cores": np.array(fragments.cores),
        "same": _same(fragments),
    }
    if contacts:
        made["contacts"] = _contacts(labels, box.shape)
    return made


def beyond(fragments: Fragments, box: Box) -> Record:
    """What a block sees of its neighbours. Its size goes with the block's faces.

    Returns:
        far_0, far_1, far_2: The labels one voxel beyond each far face, as the block sees them:
            far_0 over all rows and columns of the extended box, far_1 over the block's sections
            and all columns, far_2 over the block's sections and rows.
        firm_0, firm_1, firm_2: Where they are certain; absent where all are.
        anchors: As in ``Fragments``.
    """
    z, y, x = box.shape
    planes: Record = {"far": fragments.labels}
    if fragments.firm is not None:
        planes["firm"] = fragments.firm
    made: Record = {"anchors": fragments.anchors}
    for word, array in planes.items():
        made[f"{word}_0"] = array[z:]
        made[f"{word}_1"] = array[:z, y:]
        made[f"{word}_2"] = array[:z, :y, x:]
    return made


def _same(fragments: Fragments) -> NDArray[np.int64]:
    if fragments.wholes is None:
        return np.empty((0, 2), np.int64)
    ids = np.arange(1, len(fragments.wholes))
    _, first, whole = np.unique(fragments.wholes[1:], return_index=True, return_inverse=True)
    pairs = np.stack([ids, ids[first][whole]], axis=1) if len(ids) else np.empty((0, 2), np.int64)
    different: NDArray[np.int64] = pairs[pairs[:, 0] != pairs[:, 1]]
    return different


def _touches(own: NDArray[np.uint32], box: Box, shape: ZYX, count: int) -> NDArray[np.bool_]:
    found = np.zeros(count, bool)
    for axis in range(3):
        if shape[axis] > 1:
            ends = [box.start[axis] == 0, box.stop[axis] == shape[axis]]
            for at, there in zip((0, -1), ends, strict=True):
                if there:
                    found[np.take(own, at, axis)] = True
    return found


def _contacts(labels: NDArray[np.uint32], own: ZYX) -> NDArray[np.int64]:
    keys = []
    for axis in range(3):
        first = [slice(0, n) for n in own]
        length = min(own[axis], labels.shape[axis] - 1)
        second = list(first)
        first[axis], second[axis] = slice(0, length), slice(1, length + 1)
        a, b = labels[tuple(first)], labels[tuple(second)]
        different = a != b
        low, high = a[different].astype(np.uint64), b[different].astype(np.uint64)
        keys.append(np.minimum(low, high) << np.uint64(32) | np.maximum(low, high))
    pairs, faces = np.unique(np.concatenate(keys), return_counts=True)
    low, high = pairs >> np.uint64(32), pairs & np.uint64(0xFFFFFFFF)
    return np.stack([low.astype(np.int64), high.astype(np.int64), faces], axis=1)
