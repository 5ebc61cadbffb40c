"""Ways to look at a volume, whose predictions are averaged: flips, turns, orientations.

A network looks at a view as at any volume, so that blocks of it are as seamless as without: the
result is the mean of what the network makes of each view of the whole volume.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.client.geometry import ZYX, Box
from biosegment.inference.subjects import Subject
from biosegment.nets.footprint import Footprint
from biosegment.v1 import jobs_pb2

# Sections along z, y, x.
_ORIENTATIONS: tuple[ZYX, ...] = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
# How much longer than wide the voxels may be for a network to know again what it sees edgeways.
_MOST_ANISOTROPIC = 2.0


@dataclass(frozen=True, slots=True)
class View:
    """A volume with its axes in another order, some of them running backwards.

    Attributes:
        order: Which axis of the volume each axis of the view is.
        flipped: Which axes of the view run backwards.
    """

    order: ZYX = (0, 1, 2)
    flipped: tuple[bool, bool, bool] = (False, False, False)

    def extent(self, shape: ZYX) -> ZYX:
        """Extent of the view of a volume of this extent."""
        z, y, x = (shape[axis] for axis in self.order)
        return z, y, x

    def box(self, box: Box, shape: ZYX) -> Box:
        """Where a box of a volume of this extent lies in the view."""
        spans = []
        for axis, flipped in zip(self.order, self.flipped, strict=True):
            start, stop = box.start[axis], box.stop[axis]
            spans.append((shape[axis] - stop, shape[axis] - start) if flipped else (start, stop))
        (z0, z1), (y0, y1), (x0, x1) = spans
        return Box((z0, y0, x0), (z1, y1, x1))

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """The view of an array, axes ZYX."""
        seen: NDArray[Any] = np.flip(array.transpose(self.order), self._reversed)
        return seen

    def back(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array of the view, axes CZYX, as one of the volume."""
        straight: NDArray[Any] = np.flip(array, tuple(axis + 1 for axis in self._reversed))
        return straight.transpose(0, *(1 + self.order.index(axis) for axis in range(3)))

    @property
    def _reversed(self) -> tuple[int, ...]:
        return tuple(axis for axis, flipped in enumerate(self.flipped) if flipped)


def views_of(augmentation: int, three_orientations: bool, footprint: Footprint) -> list[View]:
    """The views that a segmentation averages over, the plain one first.

    Flips are along y and x, and along z too for a network that convolves along it; turns are
    these, and each with y and x exchanged. Both are within the sections of an orientation.

    Args:
        augmentation: Of the segmentation's spec.
        three_orientations: Of the same.
        footprint: Of the network.
    """
    along_z = (False,) if footprint.sectionwise else (False, True)
    flips = list(product(along_z, (False, True), (False, True)))
    exchanges: list[ZYX] = [(0, 1, 2), (0, 2, 1)]
    if augmentation != jobs_pb2.AUGMENTATION_TURNS:
        exchanges = exchanges[:1]
    if augmentation == jobs_pb2.AUGMENTATION_UNSPECIFIED:
        flips = flips[:1]
    found = []
    for order in _ORIENTATIONS if three_orientations else _ORIENTATIONS[:1]:
        for (a, b, c), flipped in product(exchanges, flips):
            found.append(View((order[a], order[b], order[c]), flipped))
    return found


def check(spec: jobs_pb2.SegmentSpec, subject: Subject) -> None:
    """Accepts a segmentation whose views its network and data set allow.

    Raises:
        InvalidArgumentError: There is no such augmentation.
        FailedPreconditionError: Three orientations are asked of a network that sees volumes or
            whole sections, or of voxels that are not nearly as long as they are wide.
    """
    if spec.augmentation not in jobs_pb2.Augmentation.values():
        raise InvalidArgumentError(
            f"{spec.augmentation} is no augmentation; take FLIPS or TURNS.",
            field="spec.augmentation",
        )
    if not spec.three_orientations:
        return
    name = subject.model.architecture
    if not subject.footprint.sectionwise:
        raise FailedPreconditionError(
            f"{name} sees volumes, which have no orientation; leave three orientations out.",
            name=subject.model.name,
        )
    if not subject.footprint.local:
        raise FailedPreconditionError(
            f"{name} has to see whole sections, and blocks hold those of one orientation only; "
            "take an architecture that works in tiles, such as unet2d.",
            name=subject.model.name,
        )
    size = subject.raw.voxel_size
    if max(size.z, size.y, size.x) > _MOST_ANISOTROPIC * min(size.z, size.y, size.x):
        raise FailedPreconditionError(
            f"Voxels of {subject.dataset.name} are {size.z:g} × {size.y:g} × {size.x:g} nm "
            f"(z, y, x): over {_MOST_ANISOTROPIC:g} times longer than wide, so that a network that "
            "learnt from sections knows nothing of what it sees edgeways. Leave three orientations "
            "out.",
            name=subject.dataset.name,
        )


def margin(views: Sequence[View], footprint: Footprint, shape: ZYX) -> ZYX:
    """How far beyond a box of the volume the raw voxels reach that all views of it need."""
    most = [0, 0, 0]
    for view in views:
        needed = footprint.margin(view.extent(shape))
        for axis, size in zip(view.order, needed, strict=True):
            most[axis] = max(most[axis], size)
    return most[0], most[1], most[2]


def around(box: Box, views: Sequence[View], footprint: Footprint, shape: ZYX) -> Box:
    """The raw voxels that predicting a box needs."""
    reach = margin(views, footprint, shape)
    z0, y0, x0 = (max(0, a - m) for a, m in zip(box.start, reach, strict=True))
    z1, y1, x1 = (min(n, b + m) for b, n, m in zip(box.stop, shape, reach, strict=True))
    return Box((z0, y0, x0), (z1, y1, x1))
