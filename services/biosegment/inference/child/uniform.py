"""Tiles of one grey value throughout, such as the padding around tissue: predicted once.

What the network makes of such a tile depends on the value and the tile's extent alone, so what it
made of the last one like it is the answer for this one, voxel by voxel.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from numpy.typing import NDArray

from biosegment.inference.child.tiles import Tile

KEPT_BYTES = 64 << 20
_SAMPLE = 32

_Key = tuple[Any, ...]
_Made = list[NDArray[Any]]


class UniformTiles:
    """Predictions of tiles of one grey value, the latest ones, within KEPT_BYTES."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, _Made] = OrderedDict()

    def predict(
        self,
        seen: NDArray[Any],
        tile: Tile,
        wanted: Hashable,
        forward: Callable[[], _Made],
    ) -> _Made:
        """What the network makes of a tile, from memory where that is certain.

        Args:
            seen: What the network sees, axes ZYX.
            tile: Where it lies.
            wanted: What else decides: the outputs, and what is made of grey values.
            forward: Runs the network.
        """
        if not is_uniform(seen):
            return forward()
        cores = tuple((span.core.start, span.core.stop) for span in tile.axes)
        key = (seen.flat[0].item(), seen.dtype.str, seen.shape, cores, wanted)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = forward()
        self._kept[key] = made
        while sum(part.nbytes for parts in self._kept.values() for part in parts) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return made


def is_uniform(seen: NDArray[Any]) -> bool:
    """Whether all voxels are the same."""
    first = seen.flat[0]
    # Nearly every tile of tissue is told by a few of its voxels.
    if (seen[:, ::_SAMPLE, ::_SAMPLE] != first).any():
        return False
    return bool((seen == first).all())
