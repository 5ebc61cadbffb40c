"""The annotation log as patches: every labelled voxel once, as the newest commit has it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biosegment.client.arrays import CLEARED, NOT_LABELLED
from biosegment.client.errors import ResourceExhaustedError
from biosegment.client.geometry import Box

MAX_VOXELS = 1 << 30
"""Mask voxels held at a time, one byte each."""


@dataclass(frozen=True, slots=True)
class LabelPatch:
    """Labels of a box.

    Attributes:
        box: The voxels.
        values: Class values, uint8, axes ZYX; 255 where not labelled.
    """

    box: Box
    values: NDArray[np.uint8]

    @property
    def labelled(self) -> int:
        """Voxels that carry a label."""
        return int(np.count_nonzero(self.values != NOT_LABELLED))


def replay(
    commits: Iterable[tuple[Box, NDArray[np.uint8]]], *, max_voxels: int = MAX_VOXELS
) -> list[LabelPatch]:
    """Paints commits in their order and returns what is labelled in the end.

    A commit inside an earlier patch is painted into it; one that holds earlier patches takes
    them over; where patches only overlap, the newer one keeps the voxels that it paints. So the
    memory is that of the annotated boxes, not of the volume, and no voxel counts twice.

    Args:
        commits: (box, mask) in revision order; masks are uint8, axes ZYX, with 254 = cleared and
            255 = left as it was.
        max_voxels: Most voxels to hold.

    Returns:
        Patches cropped to their labels, in the order of their first commits.

    Raises:
        ResourceExhaustedError: The annotated boxes hold more voxels than max_voxels.
    """
    patches: list[LabelPatch] = []
    held = 0
    for box, mask in commits:
        touched = [patch for patch in patches if patch.box.intersection(box) is not None]
        home = next((p for p in touched if p.box.intersection(box) == box), None)
        if home is None:
            held += box.voxels
            if held > max_voxels:
                raise ResourceExhaustedError(
                    f"The annotated boxes hold over {max_voxels} voxels, more than one training "
                    "run keeps in memory. Train on an earlier revision, or annotate smaller boxes."
                )
            home = LabelPatch(box, np.full(box.shape, NOT_LABELLED, np.uint8))
            for inner in [p for p in touched if p.box.intersection(box) == p.box]:
                _paint(home, inner.box, inner.values)
                patches.remove(inner)
                held -= inner.box.voxels
            patches.append(home)
        for other in touched:
            if other is not home:
                _paint(other, box, np.where(mask == NOT_LABELLED, mask, np.uint8(CLEARED)))
        _paint(home, box, mask)
    return [_cropped(patch) for patch in patches if patch.labelled]


def _paint(patch: LabelPatch, box: Box, mask: NDArray[np.uint8]) -> None:
    shared = patch.box.intersection(box)
    if shared is None:
        return
    view = patch.values[shared.relative_to(patch.box.start).slices]
    paint = mask[shared.relative_to(box.start).slices]
    np.copyto(view, paint, where=paint != NOT_LABELLED)
    view[view == CLEARED] = NOT_LABELLED


def _cropped(patch: LabelPatch) -> LabelPatch:
    labelled = patch.values != NOT_LABELLED
    start, stop = [], []
    for axis in range(3):
        found = np.flatnonzero(labelled.any(axis=tuple(n for n in range(3) if n != axis)))
        start.append(int(found[0]))
        stop.append(int(found[-1]) + 1)
    inner = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    z, y, x = (a + b for a, b in zip(start, patch.box.start, strict=True))
    return LabelPatch(Box.at((z, y, x), inner.shape), patch.values[inner.slices].copy())
