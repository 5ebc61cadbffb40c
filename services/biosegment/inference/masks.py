"""Masks of segmentations: volumes that say where to look, checked against the data set."""

from math import ceil

import numpy as np

from biosegment.client import arrays, names
from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.client.geometry import ZYX, Box, shape_of
from biosegment.client.stubs import AsyncStubs
from biosegment.inference.subjects import ready_volume
from biosegment.v1 import storage_pb2

# How far from a whole number the ratio of two voxel sizes may be, as files round them.
_TOLERANCE = 0.02
_VIEW_FILL = 255
_SECTIONS = 32


async def look_up(stubs: AsyncStubs, parent: str, name: str, raw: storage_pb2.Volume) -> "MaskPlan":
    """Finds the mask of a segmentation, and checks that it fits.

    Args:
        stubs: To reach storage.
        parent: projects/p
        name: projects/p/volumes/v
        raw: The volume to segment.

    Raises:
        InvalidArgumentError: It is of another project.
        NotFoundError: There is no such volume.
        FailedPreconditionError: It is not complete, changes by itself, holds no whole numbers, or
            does not cover the raw volume.
    """
    names.parse(names.VOLUME, name)
    if names.project_of(name) != parent:
        raise InvalidArgumentError(
            f"The mask {name} does not belong to {parent}.", field="spec.mask_volume"
        )
    mask = await ready_volume(stubs, name)
    if mask.fill_value == _VIEW_FILL:
        raise FailedPreconditionError(
            f"{name} shows annotations and changes as people annotate; take a segmentation or an "
            "imported volume as the mask.",
            name=name,
        )
    dtype = arrays.dtype_of(mask.data_type)
    if mask.channels or not np.issubdtype(dtype, np.integer):
        raise FailedPreconditionError(
            f"{name} is no mask: a mask holds whole numbers and no channels.", name=name
        )
    return MaskPlan(stubs, mask, factors(mask, raw))


class MaskPlan:
    """A mask that fits.

    Attributes:
        volume: It.
        factors: Raw voxels per voxel of the mask, (z, y, x).
    """

    def __init__(self, stubs: AsyncStubs, volume: storage_pb2.Volume, factors: ZYX) -> None:
        self._stubs = stubs
        self.volume = volume
        self.factors = factors

    async def share(self, box: Box) -> float:
        """About which part of a box of the raw volume is inside.

        Told by evenly spaced sections of the coarsest level, so that it costs the same for a
        volume of any size.
        """
        level = len(self.volume.levels) - 1
        coarsest = self.volume.levels[level]
        total = [f * d for f, d in zip(self.factors, shape_of(coarsest.downsampling), strict=True)]
        start = [a // f for a, f in zip(box.start, total, strict=True)]
        stop = [
            min(-(-b // f), n)
            for b, f, n in zip(box.stop, total, shape_of(coarsest.shape), strict=True)
        ]
        # Of a coarser level, the last voxels of a box may lie in the one before the last.
        (z0, y0, x0) = (min(a, b - 1) for a, b in zip(start, stop, strict=True))
        sections = range(z0, stop[0], -(-(stop[0] - z0) // _SECTIONS))
        shares = [
            await self._share(Box((z, y0, x0), (z + 1, stop[1], stop[2]), level)) for z in sections
        ]
        return sum(shares) / len(shares)

    async def _share(self, place: Box) -> float:
        request = storage_pb2.ReadRegionRequest(name=self.volume.name, box=place.to_proto())
        decoder = arrays.Decoder()
        async for answer in self._stubs.storage.ReadRegion(request):
            decoder.feed(answer.chunk)
        voxels = decoder.array()[1]
        return np.count_nonzero(voxels) / voxels.size


def factors(mask: storage_pb2.Volume, raw: storage_pb2.Volume) -> ZYX:
    """How many raw voxels a voxel of the mask covers along each axis, (z, y, x).

    Voxel i of the mask covers the raw voxels from i x factor on; the last one may stick out.

    Raises:
        FailedPreconditionError: Voxel sizes and extents do not say so of whole numbers.
    """
    found = []
    extents = zip(shape_of(mask.levels[0].shape), shape_of(raw.levels[0].shape), strict=True)
    for axis, (got, extent) in zip("zyx", extents, strict=True):
        ratio = getattr(mask.voxel_size, axis) / getattr(raw.voxel_size, axis)
        factor = max(1, round(ratio))
        if abs(ratio - factor) > _TOLERANCE * factor or got != ceil(extent / factor):
            raise FailedPreconditionError(
                f"The mask {mask.name} does not cover {raw.name}: it has {_described(mask)}, and "
                f"the data set {_described(raw)}. A mask has the voxels of the data set, or ones "
                "that are larger by whole numbers, over the same extent.",
                name=mask.name,
                axis=axis,
            )
        found.append(factor)
    return found[0], found[1], found[2]


def _described(volume: storage_pb2.Volume) -> str:
    shape = " × ".join(map(str, shape_of(volume.levels[0].shape)))
    size = volume.voxel_size
    return f"{shape} voxels of {size.z:g} × {size.y:g} × {size.x:g} nm (z, y, x)"
