"""A raw volume without the padding around it.

What lies around a picture is no part of it: a network would see a wall there, which moves what it
makes of everything within its receptive field. Near the picture padding is therefore replaced by
the picture's mirror image, as beyond the end of a volume, and whatever a network makes of padding
is taken for background.

What a voxel is replaced by depends on the volume alone, not on the box that is read, so that tiles
stay seamless.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.geometry import ZYX, Box
from biosegment.client.stubs import SyncStubs
from biosegment.runtime.arrays import VolumeArray
from biosegment.runtime.grey import WINDOW, constant, statistics_of

REACH = 32
"""Voxels of padding beside the picture that are replaced, in each direction of a section.

With 32 a U-Net of four levels did within 0.002 of what it does without any padding (IoU 0.774
against 0.772, VNC), with none 0.12 worse.
"""
Write = Callable[[Box, NDArray[Any]], None]


class Picture:
    """The voxels of a volume as networks are to see them."""

    def __init__(
        self, read: Callable[[Box], NDArray[Any]], shape: ZYX, padding: Sequence[float]
    ) -> None:
        """Takes a volume.

        Args:
            read: Gives the raw voxels of a box, axes ZYX.
            shape: Its extent.
            padding: The values of its padding; none leaves everything as it is.
        """
        self._read = read
        self._shape = shape
        self._padding = list(padding)

    @classmethod
    def of(cls, stubs: SyncStubs, raw: VolumeArray) -> "Picture":
        """The picture in a raw volume."""
        return cls(raw.read, raw.shape(), statistics_of(stubs, raw).padding)

    def read(self, box: Box) -> NDArray[Any]:
        """The voxels of a box, axes ZYX; those of padding near the picture mirrored."""
        if not self._padding:
            return self._read(box)
        around = self._around(box, 2 * REACH + WINDOW - 1)
        raw = self._read(around)
        made = np.stack([self._filled(section) for section in raw])
        return made[(slice(None), *box.relative_to(around.start).slices[1:])]

    def padding(self, box: Box) -> NDArray[np.bool_] | None:
        """Which voxels of a box are padding, axes ZYX; None where none is."""
        if not self._padding:
            return None
        around = self._around(box, WINDOW - 1)
        gone = np.stack([self._gone(section) for section in self._read(around)])
        found: NDArray[np.bool_] = gone[(slice(None), *box.relative_to(around.start).slices[1:])]
        return found if found.any() else None

    def over(self, write: Write) -> Write:
        """A write of labels or entropies that puts 0 where there is padding."""
        if not self._padding:
            return write

        def only_picture(box: Box, made: NDArray[Any]) -> None:
            gone = self.padding(box)
            write(box, made if gone is None else np.where(gone, made.dtype.type(0), made))

        return only_picture

    def _around(self, box: Box, margin: int) -> Box:
        _, height, width = self._shape
        (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
        return Box(
            (z0, max(0, y0 - margin), max(0, x0 - margin)),
            (z1, min(height, y1 + margin), min(width, x1 + margin)),
        )

    def _gone(self, section: NDArray[Any]) -> NDArray[np.bool_]:
        gone = constant(section)
        if gone.any():
            known = np.isin(section, np.array(self._padding).astype(section.dtype))
            gone &= known | ~np.isfinite(section)
        return gone

    def _filled(self, section: NDArray[Any]) -> NDArray[Any]:
        gone = self._gone(section)
        if not gone.any() or gone.all():
            return section
        section, gone = _mirrored(section, gone)
        section, gone = _mirrored(section.T, gone.T)
        return section.T


def _mirrored(
    section: NDArray[Any], gone: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Fills gaps along axis 1 with what lies as far on the other side of their nearest end."""
    size = section.shape[1]
    place = np.arange(size, dtype=np.int32)[np.newaxis]
    far = np.int32(4 * size)
    before = np.maximum.accumulate(np.where(gone, -far, place), axis=1)
    after = np.minimum.accumulate(np.where(gone, far, place)[:, ::-1], axis=1)[:, ::-1]
    nearest = np.where(place - before <= after - place, before, after)
    filled = gone & (np.abs(nearest - place) <= REACH)
    rows, columns = np.nonzero(filled)
    ends = nearest[rows, columns]
    sources = 2 * ends - columns
    inside = (sources >= 0) & (sources < size)
    sources = np.where(inside, sources, ends)
    sources = np.where(gone[rows, sources], ends, sources)
    made = section.copy()
    made[rows, columns] = section[rows, sources]
    return made, gone & ~filled
