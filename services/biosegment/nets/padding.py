"""What stands in for voxels beyond a volume: its mirror image. Free of torch.

That holds in-plane, where networks take whole multiples of their stride, and along z, where the
first and the last section lack neighbours. A mirrored neighbour is a real section at the right
distance; a repeated one would be something that never occurs in training, two neighbours without
any change between them. Where there is only one section, it is its own neighbour.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.geometry import Box


def reflected(array: NDArray[Any], padding: Sequence[tuple[int, int]]) -> NDArray[Any]:
    """Pads the last axes at their (near, far) ends by reflection; a single voxel is repeated."""
    if not any(near or far for near, far in padding):
        return array
    kept = [(0, 0)] * (array.ndim - len(padding))
    return np.pad(array, [*kept, *padding], mode="reflect")


def read_with_neighbours(
    read: Callable[[Box], NDArray[Any]], box: Box, sections: int, within: Box
) -> NDArray[Any]:
    """Reads a box with some more sections at either end.

    Args:
        read: Reads voxels of a box, axes ZYX.
        box: The voxels wanted.
        sections: How many more, before and after.
        within: Where there are voxels; beyond its first and last section they are mirrored.

    Returns:
        Axes ZYX, box's extent but for z, which is 2 x sections larger.
    """
    (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
    low, high = max(within.start[0], z0 - sections), min(within.stop[0], z1 + sections)
    raw = read(Box((low, y0, x0), (high, y1, x1)))
    # What was read reaches as far inwards as the mirror image reaches out.
    return reflected(raw, [(low - z0 + sections, z1 + sections - high), (0, 0), (0, 0)])
