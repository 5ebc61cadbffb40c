"""A volume like electron microscopy of neuropil, with its truth, at any size.

Every voxel is a function of its place and the seed, so any box can be made
without the rest, and reads the same as that box of the whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import ZYX, BlockGrid, Box
from biosegment.phantom.cells import partition
from biosegment.phantom.noise import NM, Place
from biosegment.phantom.organelles import TRAITS, dark_bodies, identities, mitochondria
from biosegment.phantom.shading import HALO, image, microscope

_TILE: ZYX = (4, 512, 512)


@dataclass(frozen=True, slots=True)
class Phantom:
    """A box of the phantom. Arrays have axes ZYX.

    Attributes:
        raw: Intensities, uint8; membranes are dark.
        labels: 1 in mitochondria, 0 elsewhere, uint8.
        instances: Number of the mitochondrion, 0 elsewhere, uint32; the same in every box.
        membranes: 1 on cell membranes, 0 elsewhere, uint8.
        voxel_size: Nanometres, (z, y, x).
    """

    raw: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    instances: NDArray[np.uint32]
    membranes: NDArray[np.uint8]
    voxel_size: NM


@dataclass(frozen=True, slots=True)
class Generator:
    """A phantom that is made as it is asked for.

    Attributes:
        shape: Extent in voxels, (z, y, x).
        voxel_size: Nanometres, (z, y, x).
        seed: Tells one phantom from another.
    """

    shape: ZYX
    voxel_size: NM = (40.0, 8.0, 8.0)
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            InvalidArgumentError: An extent or a voxel size is not positive, or a voxel is so
                large that nothing could be seen.
        """
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise InvalidArgumentError(
                f"A phantom of shape {self.shape} holds no voxels; give three positive extents "
                "(z, y, x).",
                field="shape",
            )
        if len(self.voxel_size) != 3 or not all(0.5 <= size <= 200 for size in self.voxel_size):
            raise InvalidArgumentError(
                f"A voxel of {self.voxel_size} nm cannot show cells; give three sizes (z, y, x) "
                "between 0.5 and 200 nm.",
                field="voxel_size",
            )

    def box(self, box: Box) -> Phantom:
        """The phantom in a box, in memory.

        Raises:
            OutsideVolumeError: The box leaves the phantom.
        """
        box.within(self.shape, "the phantom")
        made = Phantom(
            np.empty(box.shape, np.uint8),
            np.empty(box.shape, np.uint8),
            np.empty(box.shape, np.uint32),
            np.empty(box.shape, np.uint8),
            self.voxel_size,
        )
        for tile in BlockGrid(box, _TILE):
            target = tile.relative_to(box.start).slices
            part = self._tile(tile)
            made.raw[target], made.labels[target] = part.raw, part.labels
            made.instances[target], made.membranes[target] = part.instances, part.membranes
        return made

    def slabs(self, sections: int) -> Iterator[tuple[Box, Phantom]]:
        """The whole phantom, a few sections at a time, from the first on."""
        block = (max(1, sections), self.shape[1], self.shape[2])
        for box in BlockGrid(Box.of_shape(self.shape), block):
            yield box, self.box(box)

    def _tile(self, tile: Box) -> Phantom:
        # The blur of the microscope looks a few voxels around, also beyond the volume's faces.
        z, y, x = tile.start
        depth, height, width = tile.shape
        place = Place(
            (z, y - HALO, x - HALO), (depth, height + 2 * HALO, width + 2 * HALO), self.voxel_size
        )
        cells = partition(self.seed, place, TRAITS)
        bodies, dark = mitochondria(cells, place), dark_bodies(cells, place)
        ideal = image(self.seed, place, cells, bodies, dark)
        inner = (slice(None), slice(HALO, -HALO), slice(HALO, -HALO))
        inside = bodies.inside[inner] > 0
        extent = tuple(n * size for n, size in zip(self.shape, self.voxel_size, strict=True))
        numbers = identities(cells, (extent[0], extent[1], extent[2]))
        instances = np.where(inside, numbers[bodies.body[inner] - 1], np.uint32(0))
        return Phantom(
            microscope(self.seed, place, ideal)[inner],
            inside.astype(np.uint8),
            instances,
            (cells.depth[inner] < 11).astype(np.uint8),
            self.voxel_size,
        )


def generate(
    shape: ZYX = (20, 512, 512), voxel_size: NM = (40.0, 8.0, 8.0), seed: int = 0
) -> Phantom:
    """A phantom, whole, in memory. For large ones take ``Generator(...).slabs``.

    Args:
        shape: Extent in voxels, (z, y, x).
        voxel_size: Nanometres, (z, y, x).
        seed: Tells one phantom from another.

    Raises:
        InvalidArgumentError: An extent or a voxel size makes no sense.
    """
    generator = Generator(shape, voxel_size, seed)
    return generator.box(Box.of_shape(shape))
