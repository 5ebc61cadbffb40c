"""Masks: where a segmentation is to look. Outside, nothing is read or predicted."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.geometry import ZYX, Box

Read = Callable[[Box], NDArray[Any]]
Write = Callable[[Box, NDArray[Any]], None]


class Mask:
    """A volume whose voxels above 0 cover what is to be segmented."""

    def __init__(self, read: Read, factors: ZYX) -> None:
        """Takes the mask as it is stored.

        Args:
            read: Gives the voxels of a box of the mask, axes ZYX.
            factors: Raw voxels per voxel of the mask, (z, y, x).
        """
        self._read = read
        self._factors = factors

    def inside(self, box: Box) -> NDArray[np.bool_]:
        """Which voxels of a box of the raw volume are inside, axes ZYX."""
        z0, y0, x0 = (a // f for a, f in zip(box.start, self._factors, strict=True))
        z1, y1, x1 = (-(-b // f) for b, f in zip(box.stop, self._factors, strict=True))
        found: NDArray[np.bool_] = self._read(Box((z0, y0, x0), (z1, y1, x1))) > 0
        for axis, (factor, start, size) in enumerate(
            zip(self._factors, box.start, box.shape, strict=True)
        ):
            # Which mask voxel each raw voxel is in, counted from the first one read.
            index = (np.arange(start, start + size) // factor) - start // factor
            found = found.take(index, axis=axis)
        return found

    def touched(
        self, blocks: Sequence[tuple[int, Box]], skipped: Callable[[int], None]
    ) -> list[tuple[int, Box]]:
        """The blocks that have anything inside.

        Args:
            blocks: (index, voxels to write) of each.
            skipped: Told of the others. Their output stays unwritten, which reads as 0.
        """
        kept = []
        for index, box in blocks:
            if self.inside(box).any():
                kept.append((index, box))
            else:
                skipped(index)
        return kept

    def over(self, write: Write) -> Write:
        """A write that puts 0 wherever a voxel is outside."""

        def masked(box: Box, array: NDArray[Any]) -> None:
            array[~self.inside(box)] = 0
            write(box, array)

        return masked
