"""How well a segmentation agrees with a reference, from counts that add up. Free of torch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from biosegment.client.arrays import CLEARED
from biosegment.nets.channels import IGNORE, to_channels


class Confusion:
    """Counts of (reference, predicted) class pairs, piece by piece.

    Attributes:
        classes: Class values in channel order; the first is background.
        counts: int64, (reference, predicted).
        met: 256 of bool: values that the reference held so far.
    """

    def __init__(self, classes: Sequence[int]) -> None:
        self.classes = tuple(classes)
        self.counts = np.zeros((len(self.classes),) * 2, np.int64)
        self.met = np.zeros(256, bool)

    def update(self, predicted: NDArray[np.uint8], reference: NDArray[np.uint8]) -> int:
        """Counts the voxels of a piece.

        Args:
            predicted: Class values of the model, uint8.
            reference: Class values, uint8, same shape. 255 and 254 are left out; a class that
                the model does not know counts as background.

        Returns:
            Voxels compared.
        """
        self.met |= np.bincount(reference.reshape(-1), minlength=256) > 0
        truth = to_channels(reference, self.classes, others=0).reshape(-1)
        guess = to_channels(predicted, self.classes, others=0).reshape(-1)
        keep = (truth != IGNORE) & (guess != IGNORE)
        size = len(self.classes)
        pairs = truth[keep].astype(np.int64) * size + guess[keep]
        self.counts += np.bincount(pairs, minlength=size * size).reshape(size, size)
        return int(pairs.size)

    @property
    def voxels(self) -> int:
        """Voxels compared so far."""
        return int(self.counts.sum())

    @property
    def missing(self) -> list[int]:
        """Classes of the model that the reference did not hold so far."""
        return [value for value in self.classes if not self.met[value]]

    @property
    def unknown(self) -> list[int]:
        """Classes that the reference held and the model does not know."""
        labels = np.flatnonzero(self.met[:CLEARED]).tolist()
        return [value for value in labels if value not in self.classes]

    def figures(self) -> dict[str, float]:
        """Metrics by name.

        ``iou_<class value>`` for every class that occurs in reference or prediction, ``iou``,
        their mean over the classes but background (absent when none of them occurs), and
        ``accuracy``.
        """
        overlap = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(0) + self.counts.sum(1) - overlap
        made = {
            f"iou_{value}": float(overlap[n] / union[n])
            for n, value in enumerate(self.classes)
            if union[n] > 0
        }
        foreground = [made[f"iou_{v}"] for v in self.classes[1:] if f"iou_{v}" in made]
        if foreground:
            made["iou"] = float(np.mean(foreground))
        if self.voxels:
            made["accuracy"] = float(overlap.sum() / self.voxels)
        return made
