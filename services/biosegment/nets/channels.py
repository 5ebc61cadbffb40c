"""Class values to channel indices and back. Free of torch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from biosegment.client.arrays import CLEARED, NOT_LABELLED
from biosegment.client.errors import InvalidArgumentError

IGNORE = 255
"""Channel index of voxels that take no part in losses and metrics."""


def _checked(classes: Sequence[int]) -> Sequence[int]:
    if len(set(classes)) != len(classes) or any(not 0 <= value < CLEARED for value in classes):
        raise InvalidArgumentError(
            f"Classes must be different values from 0 to {CLEARED - 1}; they are {list(classes)}.",
            field="classes",
        )
    return classes


def to_channels(
    values: NDArray[np.uint8], classes: Sequence[int], *, others: int = IGNORE
) -> NDArray[np.uint8]:
    """Channel indices of class values.

    Args:
        values: uint8, any shape; 255 (not labelled) and 254 (cleared) become IGNORE.
        classes: Class values in channel order.
        others: What a class value that is not in ``classes`` becomes.

    Raises:
        InvalidArgumentError: ``classes`` has repeats or values above 253.
    """
    table = np.full(256, others, np.uint8)
    table[[CLEARED, NOT_LABELLED]] = IGNORE
    table[list(_checked(classes))] = np.arange(len(classes))
    return table[values]


def value_table(classes: Sequence[int]) -> NDArray[np.uint8]:
    """The class value of every channel index, uint8, shape (classes,).

    Raises:
        InvalidArgumentError: ``classes`` has repeats or values above 253.
    """
    return np.asarray(_checked(classes), np.uint8)
