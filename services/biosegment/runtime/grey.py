"""Grey values of volumes: what tells one way of storing a picture from another.

The statistics are quantiles, so that what is stored brighter, flatter, offset or in another type
has the quantiles of the same picture, changed in the same way. What has no contrast at all is no
picture, and would move every quantile: padding, and voxels that are no number, are left out.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.errors import FailedPreconditionError, NotFoundError
from biosegment.client.geometry import ZYX, Box
from biosegment.client.stubs import SyncStubs
from biosegment.runtime.arrays import VolumeArray
from biosegment.v1 import storage_pb2, types_pb2

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""The quantiles that are kept."""
WINDOW = 16
"""Edge of the squares of one value, in voxels of a section, that are taken for padding. Smaller
ones are found in pictures of few grey levels, above all where these are smooth."""
# Of the rim of the sections, as a part that no saturated spot covers.
_RIM = 0.1
_BAND_PIXELS = 1 << 22
_KEPT_VALUES = 1 << 21
# A volume that nobody measured when it was made is looked at in so many places, or whole where that
# is no more.
_PLACES, _PLACE = 256, 256


def constant(section: NDArray[Any]) -> NDArray[np.bool_]:
    """Which pixels lie in a square of one value, or are no number.

    Args:
        section: Axes YX. Squares are as small as the section where that is smaller than WINDOW.
    """
    gone = ~np.isfinite(section) if section.dtype.kind == "f" else None
    height, width = (min(WINDOW, size) for size in section.shape)
    found = np.zeros(section.shape, bool)
    # A square has a run of one value in one of these rows.
    rows = section[height - 1 :: height]
    if _runs(rows[:, 1:] == rows[:, :-1], width - 1, 1).any() or width == 1:
        found = _squares(section, height, width)
    return found if gone is None else found | gone


def _squares(section: NDArray[Any], height: int, width: int) -> NDArray[np.bool_]:
    corners = np.ones((section.shape[0] - height + 1, section.shape[1] - width + 1), bool)
    if width > 1:
        along = _runs(section[:, 1:] == section[:, :-1], width - 1, 1)
        corners &= _runs(along, height, 0)
    if height > 1:
        down = _runs(section[1:] == section[:-1], height - 1, 0)
        corners &= down[:, : corners.shape[1]]
    # Every pixel of every square, not the corners alone.
    wide = np.pad(corners, ((height - 1, height - 1), (width - 1, width - 1)))
    return ~_runs(_runs(~wide, height, 0), width, 1)


def _runs(flags: NDArray[np.bool_], length: int, axis: int) -> NDArray[np.bool_]:
    """Where so many flags in a row are set, by the first of them."""
    have = 1
    while have < length:
        step = min(have, length - have)
        size = flags.shape[axis]
        first, later = [slice(None)] * 2, [slice(None)] * 2
        first[axis], later[axis] = slice(0, max(0, size - step)), slice(step, None)
        flags = flags[tuple(first)] & flags[tuple(later)]
        have += step
    return flags


class GreyMeter:
    """Measures sections one after the other; memory does not grow with them."""

    def __init__(self) -> None:
        self._counts: NDArray[np.int64] | None = None
        self._lowest = 0
        # Of types too wide to be counted: every so manieth value, the same ones in every run.
        self._values: list[NDArray[Any]] = []
        self._held = 0
        self._every = 1
        self._skip = 0
        self._voxels = self._left_out = 0
        # Along the rim of sections: how many voxels, and how many of each value in squares of it.
        self._rim = 0
        self._along: Counter[float] = Counter()

    @property
    def voxels(self) -> int:
        """Voxels looked at so far."""
        return self._voxels

    def add(self, section: NDArray[Any]) -> None:
        """Looks at a section, axes YX."""
        rows = max(WINDOW, _BAND_PIXELS // max(1, section.shape[1]))
        for start in range(0, section.shape[0], rows):
            stop = min(start + rows, section.shape[0])
            # A square may begin before the band, and end after it.
            low = max(0, start - WINDOW + 1)
            band = np.asarray(section[low : min(stop + WINDOW - 1, section.shape[0])])
            inner = slice(start - low, stop - low)
            left_out = constant(band)[inner]
            self._count(band[inner], left_out)
            rim = np.zeros(left_out.shape, bool)
            rim[:, [0, -1]] = True
            rim[0] |= start == 0
            rim[-1] |= stop == section.shape[0]
            self._rim += int(np.count_nonzero(rim))
            found = band[inner][rim & left_out].astype(np.float64)
            values, counts = np.unique(np.nan_to_num(found, nan=0.0), return_counts=True)
            self._along.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))

    def _count(self, band: NDArray[Any], left_out: NDArray[np.bool_]) -> None:
        gone = int(np.count_nonzero(left_out))
        self._voxels += band.size
        self._left_out += gone
        values = band[~left_out] if gone else band.reshape(-1)
        if band.dtype.kind in "iu" and band.dtype.itemsize <= 2:
            if self._counts is None:
                info = np.iinfo(band.dtype)
                self._lowest = int(info.min)
                self._counts = np.zeros(int(info.max) - self._lowest + 1, np.int64)
            offset = values if not self._lowest else values.astype(np.int64) - self._lowest
            self._counts += np.bincount(offset, minlength=len(self._counts))
            return
        some = values[self._skip :: self._every].copy()
        self._skip = (self._skip - len(values)) % self._every
        self._values.append(some)
        self._held += len(some)
        while self._held > _KEPT_VALUES:
            # By three, since widths of images tend to be multiples of two.
            kept = np.concatenate(self._values)
            self._skip += self._every * (-len(kept) % 3)
            self._every *= 3
            self._values = [kept[::3]]
            self._held = len(self._values[0])

    def statistics(self, *, whole: bool = True) -> types_pb2.GreyStatistics:
        """What was found; without quantiles where all was left out.

        Args:
            whole: Whether what was added are whole sections, so that padding can be told.
        """
        made = types_pb2.GreyStatistics(voxels=self._voxels)
        if self._voxels:
            made.left_out = self._left_out / self._voxels
        if whole and self._left_out < self._voxels:
            most = _RIM * self._rim
            made.padding.extend(sorted(v for v, n in self._along.items() if n > most))
        if self._counts is not None:
            present = np.flatnonzero(self._counts)
            values, counts = (present + self._lowest).astype(np.float64), self._counts[present]
        else:
            kept = np.concatenate(self._values) if self._values else np.empty(0)
            values, counts = np.unique(kept.astype(np.float64), return_counts=True)
        if len(values):
            # A value stands in the middle of those that are equal to it, so that quantiles lie
            # between values too: pictures of few grey levels have those of the same in many.
            middles = (np.cumsum(counts) - counts / 2) / counts.sum()
            made.quantiles.extend(np.interp(LEVELS, middles, values).tolist())
        return made


def measured(sections: Iterable[NDArray[Any]], meter: GreyMeter) -> Iterator[NDArray[Any]]:
    """Passes sections on, each measured."""
    for section in sections:
        meter.add(section)
        yield section


def statistics_of(stubs: SyncStubs, raw: VolumeArray) -> types_pb2.GreyStatistics:
    """The grey values of an image; measured and recorded now where nobody has done so before.

    Args:
        stubs: To reach storage.
        raw: The volume, complete, without channels.

    Raises:
        UnavailableError: The store cannot be reached.
    """
    if raw.volume.HasField("grey"):
        return raw.volume.grey
    meter = GreyMeter()
    for box in places(raw.shape()):
        meter.add(raw.read(box)[0])
    z, y, x = raw.shape()
    found = meter.statistics(whole=meter.voxels >= z * y * x)
    request = storage_pb2.RecordGreyStatisticsRequest(name=raw.volume.name, grey=found)
    try:
        volume: storage_pb2.Volume = stubs.storage.RecordGreyStatistics(request).volume
    except (FailedPreconditionError, NotFoundError):
        return found
    return volume.grey


def places(shape: ZYX) -> Iterator[Box]:
    """Where to look at a volume that was never measured: everywhere if it is small, else evenly.

    Args:
        shape: Extent of the volume, (z, y, x).
    """
    depth, height, width = shape
    if depth * height * width <= _PLACES * _PLACE * _PLACE:
        yield from (Box((z, 0, 0), (z + 1, height, width)) for z in range(depth))
        return
    rows, columns = min(_PLACE, height), min(_PLACE, width)
    for n in range(_PLACES):
        # Fractional parts of multiples of irrational numbers lie evenly; Roberts (2018).
        z, y, x = (
            int((n * step % 1.0) * room)
            for step, room in zip(
                (0.8191725134, 0.6710436067, 0.5497004779),
                (depth, height - rows + 1, width - columns + 1),
                strict=True,
            )
        )
        yield Box((z, y, x), (z + 1, y + rows, x + columns))
