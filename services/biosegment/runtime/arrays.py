"""Volumes as arrays for workers: straight from the store where they can, by stream where not."""

import json
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from biosegment.client import arrays
from biosegment.client.complete import check_complete
from biosegment.client.errors import NotFoundError
from biosegment.client.geometry import ZYX, BlockGrid, Box, shape_of
from biosegment.client.stubs import SyncStubs
from biosegment.runtime import log
from biosegment.runtime.trouble import store_trouble
from biosegment.v1 import storage_pb2

_log = log.get(__name__)


class VolumeArray:
    """One volume, all its levels. Blocking; for children and threads, not for event loops.

    Attributes:
        volume: Its description.
    """

    def __init__(
        self,
        volume: storage_pb2.Volume,
        stores: list[Any] | None,
        stubs: SyncStubs | None,
    ) -> None:
        self.volume = volume
        self._stores = stores
        self._stubs = stubs

    @classmethod
    def open(cls, stubs: SyncStubs, name: str, *, direct: bool = True) -> "VolumeArray":
        """Opens a volume.

        Args:
            stubs: To reach the storage service.
            name: projects/p/volumes/v
            direct: Try the store itself before falling back to the service's stream.

        Raises:
            NotFoundError: There is no such volume.
        """
        answer = stubs.storage.ResolveVolume(storage_pb2.ResolveVolumeRequest(name=name))
        stores: list[Any] | None = None
        if direct:
            try:
                stores = [
                    ts.open(json.loads(spec), open=True).result() for spec in answer.level_specs
                ]
            except (ValueError, OSError) as error:
                _log.info("store.out_of_reach", volume=name, error=str(error)[:300])
        return cls(answer.volume, stores, stubs)

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

    def store(self, level: int) -> Any:
        """The tensorstore of a level, axes ZYX or CZYX.

        Raises:
            NotFoundError: The store is out of reach of this worker.
        """
        if self._stores is None:
            raise NotFoundError(f"{self.volume.name} cannot be reached directly from here.")
        return self._stores[level]

    def read(self, box: Box) -> NDArray[Any]:
        """The voxels of a box, axes ZYX or CZYX.

        Raises:
            OutsideVolumeError: The box leaves the volume.
            StoreError: They cannot be read.
        """
        box.within(self.shape(box.level), self.volume.name)
        if self._stores is not None:
            data: NDArray[Any]
            with store_trouble(f"{box} of {self.volume.name} cannot be read", self.volume.name):
                data = self._stores[box.level][(..., *box.slices)].read().result()
            return data
        assert self._stubs is not None
        request = storage_pb2.ReadRegionRequest(name=self.volume.name, box=box.to_proto())
        return arrays.decode(answer.chunk for answer in self._stubs.storage.ReadRegion(request))

    def write(self, box: Box, array: NDArray[Any]) -> None:
        """Writes the voxels of a box; returns once they are stored.

        Raises:
            OutsideVolumeError: The box leaves the volume.
            StoreError: They cannot be stored.
        """
        box.within(self.shape(box.level), self.volume.name)
        if self._stores is not None:
            with store_trouble(f"{box} of {self.volume.name} cannot be stored", self.volume.name):
                self._stores[box.level][(..., *box.slices)].write(array).result()
            return
        assert self._stubs is not None
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
    fine, coarse = (shape_of(volume.levels[n].downsampling) for n in (level - 1, level))
    factors = [c // f for c, f in zip(coarse, fine, strict=True)]
    return ts.downsample(finer, [*[1] * (finer.rank - 3), *factors], method=method)


def build_pyramid(
    volume: VolumeArray, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> None:
    """Fills the coarser levels from level 0: means of images, modes of labels.

    Goes write unit by write unit, reading chunk by chunk, so memory is bounded by one write unit
    and the finer voxels under one chunk.

    Args:
        volume: Opened directly.
        progress: Called with (units done, units in all).
    """
    levels = volume.volume.levels
    grids = [
        BlockGrid(Box.of_shape(shape_of(level.shape), n), shape_of(level.write_unit))
        for n, level in enumerate(levels)
    ]
    total, done = sum(len(grid) for grid in grids[1:]), 0
    for n in range(1, len(levels)):
        reduced = coarser(volume.volume, volume.store(n - 1), n)
        lead = (volume.volume.channels,) if volume.volume.channels else ()
        for box in grids[n]:
            unit = np.empty((*lead, *box.shape), volume.dtype)
            for part in BlockGrid(box, shape_of(levels[n].chunk)):
                place = part.relative_to(box.start).slices
                unit[(..., *place)] = reduced[(..., *part.slices)].read().result()
            volume.write(box, unit)
            done += 1
            progress(done, total)
