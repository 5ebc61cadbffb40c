"""Patches that show something: padding teaches a model nothing, and nobody wants to label it."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.geometry import ZYX, Box
from biosegment.client.stubs import SyncStubs
from biosegment.runtime.arrays import VolumeArray
from biosegment.runtime.grey import WINDOW, constant, statistics_of

Shares = Callable[[Sequence[Box]], NDArray[np.float64]]
"""The fraction of each patch that is padding."""

MOST = 0.5
"""A patch of more padding than this is never proposed."""
_READERS = 8
_CACHE_BYTES = 64 << 20


def padding(stubs: SyncStubs, volume: str, check: Callable[[], None]) -> Shares | None:
    """Tells how much of a patch is padding; None where the volume is known to have none.

    Args:
        stubs: To reach storage.
        volume: Name of the raw volume.
        check: Called between reads; may raise to stop.

    Raises:
        NotFoundError: There is no such volume.
        FailedPreconditionError: It is not complete.
    """
    raw = VolumeArray.open(stubs, volume, cache_bytes=_CACHE_BYTES).ready()
    grey, (z, y, x) = statistics_of(stubs, raw), raw.shape()
    if not grey.left_out and grey.voxels >= z * y * x:
        return None

    def shares(boxes: Sequence[Box]) -> NDArray[np.float64]:
        def share(box: Box) -> float:
            check()
            return _share(raw.read, box, raw.shape())

        with ThreadPoolExecutor(_READERS) as readers:
            return np.fromiter(readers.map(share, boxes), np.float64, len(boxes))

    return shares


def _share(read: Callable[[Box], NDArray[Any]], box: Box, shape: ZYX) -> float:
    # A square of one value may begin before the patch, and end after it.
    (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
    low = max(0, y0 - WINDOW + 1), max(0, x0 - WINDOW + 1)
    high = min(shape[1], y1 + WINDOW - 1), min(shape[2], x1 + WINDOW - 1)
    around = read(Box((z0, *low), (z1, *high)))
    rows, columns = slice(y0 - low[0], y1 - low[0]), slice(x0 - low[1], x1 - low[1])
    gone = sum(np.count_nonzero(constant(section)[rows, columns]) for section in around)
    return float(gone) / box.voxels
