"""Volumes as arrays for workers: straight from the store where they can, by stream where not."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from biosegment.client import arrays
from biosegment.client.complete import check_complete
from biosegment.client.geometry import ZYX, BlockGrid, Box, shape_of
from biosegment.client.stubs import SyncStubs
from biosegment.runtime import store_access
from biosegment.runtime.stores import context, reaching
from biosegment.v1 import storage_pb2

# Chunks read at a time for a pyramid: what hides the delay of an object store.
_READERS = 4


class VolumeArray:
    """One volume, all its levels. Blocking; for children and threads, not for event loops.

    Attributes:
        volume: Its description.
    """

    def __init__(
        self,
        volume: storage_pb2.Volume,
        stores: list[Any] | None,
        stubs: SyncStubs,
    ) -> None:
        self.volume = volume
        self._stores = stores
        self._stubs = stubs

    @classmethod
    def open(cls, stubs: SyncStubs, name: str, *, cache_bytes: int = 0) -> "VolumeArray":
        """Opens a volume, in the way that BIOSEGMENT_STORE_ACCESS says.

        Args:
            stubs: To reach the storage service.
            name: projects/p/volumes/v
            cache_bytes: Of chunks, as they are in memory, that are kept for another read. Each is
                checked against the store before use.

        Raises:
            NotFoundError: There is no such volume.
            FailedPreconditionError: Access is to be direct, and the store refuses it.
            UnavailableError: The store cannot be reached.
        """
        answer = stubs.storage.ResolveVolume(storage_pb2.ResolveVolumeRequest(name=name))
        if not store_access.direct(answer.probe):
            return cls(answer.volume, None, stubs)
        # One for all levels, or each would have a cache of that size.
        shared = context(cache_bytes)
        with reaching(answer.volume.uri, "opening"):
            opening = [
                ts.open(json.loads(spec), open=True, context=shared) for spec in answer.level_specs
            ]
            return cls(answer.volume, [level.result() for level in opening], stubs)

    def ready(self) -> "VolumeArray":
        """Returns itself if the volume is complete.

        Raises:
            FailedPreconditionError: It is still being written.
        """
        check_complete(self.volume)
        return self

    @property
    def direct(self) -> bool:
        """Whether reads and writes go straight to the store."""
        return self._stores is not None

    def shape(self, level: int = 0) -> ZYX:
        """Extent of a level in voxels, (z, y, x)."""
        return shape_of(self.volume.levels[level].shape)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Element type."""
        return arrays.dtype_of(self.volume.data_type)

    def read(self, box: Box) -> NDArray[Any]:
        """The voxels of a box, axes ZYX or CZYX.

        Raises:
            OutsideVolumeError: The box leaves the volume.
            UnavailableError: The store cannot be reached.
            StoreError: It failed in another way.
        """
        box.within(self.shape(box.level), self.volume.name)
        if self._stores is not None:
            with reaching(self.volume.uri, "reading"):
                data: NDArray[Any] = self._stores[box.level][(..., *box.slices)].read().result()
            return data
        request = storage_pb2.ReadRegionRequest(name=self.volume.name, box=box.to_proto())
        return arrays.decode(answer.chunk for answer in self._stubs.storage.ReadRegion(request))

    def write(self, box: Box, array: NDArray[Any]) -> None:
        """Writes the voxels of a box; returns once they are stored.

        Raises:
            OutsideVolumeError: The box leaves the volume.
            UnavailableError: The store cannot be reached.
            StoreError: It failed in another way.
        """
        box.within(self.shape(box.level), self.volume.name)
        if self._stores is not None:
            with reaching(self.volume.uri, "writing"):
                self._stores[box.level][(..., *box.slices)].write(array).result()
            return
        self._stubs.storage.WriteRegion(
            storage_pb2.WriteRegionRequest(name=self.volume.name if first else "", chunk=chunk)
            for first, chunk in _flag_first(arrays.encode(array, box))
        )


def _flag_first(chunks: Any) -> Any:
    first = True
    for chunk in chunks:
        yield first, chunk
        first = False


def coarser(volume: storage_pb2.Volume, finer: Any, level: int) -> Any:
    """A lazy view of the next finer level, reduced to the voxels of a level.

    Args:
        volume: The volume.
        finer: Tensorstore of level - 1.
        level: From 1 on.
    """
    labels = volume.kind == storage_pb2.VOLUME_KIND_LABELS
    method: Literal["mode", "mean"] = "mode" if labels else "mean"
    factors = _factors(volume, level)
    return ts.downsample(finer, [*[1] * (finer.rank - 3), *factors], method=method)


def _factors(volume: storage_pb2.Volume, level: int) -> ZYX:
    """Voxels of the next finer level per voxel of a level, (z, y, x)."""
    fine, coarse = (shape_of(volume.levels[n].downsampling) for n in (level - 1, level))
    return coarse[0] // fine[0], coarse[1] // fine[1], coarse[2] // fine[2]


def build_pyramid(
    volume: VolumeArray, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> None:
    """Fills the coarser levels from level 0: means of images, modes of labels.

    Goes write unit by write unit, reading chunk by chunk, so memory is bounded by one write unit
    and the finer voxels under four chunks.

    Args:
        volume: Any, level 0 filled.
        progress: Called with (units done, units in all).
    """
    levels = volume.volume.levels
    grids = [
        BlockGrid(Box.of_shape(shape_of(level.shape), n), shape_of(level.write_unit))
        for n, level in enumerate(levels)
    ]
    total, done = sum(len(grid) for grid in grids[1:]), 0
    lead = (volume.volume.channels,) if volume.volume.channels else ()
    with ThreadPoolExecutor(_READERS) as readers:
        for n in range(1, len(levels)):
            for box in grids[n]:
                unit = np.empty((*lead, *box.shape), volume.dtype)

                def fill(part: Box, unit: NDArray[Any] = unit, start: ZYX = box.start) -> None:
                    unit[(..., *part.relative_to(start).slices)] = reduced(volume, part)

                # Taken one by one, so that the first error is raised.
                for _ in readers.map(fill, BlockGrid(box, shape_of(levels[n].chunk))):
                    pass
                volume.write(box, unit)
                done += 1
                progress(done, total)


def reduced(volume: VolumeArray, part: Box) -> NDArray[Any]:
    """The voxels of a box of a coarser level, made of those of the next finer one.

    Args:
        volume: Any, the finer level filled.
        part: Of a level from 1 on.

    Returns:
        Axes ZYX or CZYX.
    """
    fine = part.level - 1
    (z, fz), (y, fy), (x, fx) = zip(part.start, _factors(volume.volume, part.level), strict=True)
    depth, height, width = part.shape
    box = Box.at((z * fz, y * fy, x * fx), (depth * fz, height * fy, width * fx), fine)
    inside = box.intersection(Box.of_shape(volume.shape(fine), fine))
    assert inside is not None
    finer = ts.array(volume.read(inside))
    made: NDArray[Any] = coarser(volume.volume, finer, part.level).read().result()
    return made
