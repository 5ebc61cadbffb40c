"""How a network looks at a volume. Free of torch."""

from dataclasses import dataclass

from biosegment.client.geometry import ZYX
from biosegment.nets.receptive import unet_halo


@dataclass(frozen=True, slots=True)
class Footprint:
    """What training and inference must know of a network to feed it. In voxels, axes ZYX.

    Attributes:
        stride: Extents of what it predicts at a time must be multiples of it.
        halo: Nothing farther than this from a cell of the stride's grid changes the prediction of
            a voxel in it; a multiple of stride.
        neighbours: Sections on either side that come with every section, as channels.
        local: Whether the halo says it all. Otherwise each pixel depends on the whole section
            that is shown, so that whole sections have to be.
    """

    stride: ZYX
    halo: ZYX
    neighbours: int = 0
    local: bool = True

    @property
    def sectionwise(self) -> bool:
        """Whether every section is predicted by itself, with its neighbours as channels."""
        return self.halo[0] == 0

    def halo_in(self, shape: ZYX) -> ZYX:
        """The halo in a volume of this extent: all of the section where the network sees that."""
        return self.halo if self.local else (self.halo[0], shape[1], shape[2])

    def margin(self, shape: ZYX) -> ZYX:
        """How far beyond a box the raw voxels reach that predicting it needs.

        Aligning to the stride widens a tile by less than one; neighbours come on top.
        """
        z, y, x = (
            h + s - 1 + n
            for h, s, n in zip(
                self.halo_in(shape), self.stride, (self.neighbours, 0, 0), strict=True
            )
        )
        return z, y, x

    def forward_voxels(self, forward_pixels: int) -> int:
        """Voxels to show at a time where ``forward_pixels`` are allowed for single sections.

        Four times as many for a network that convolves along three axes: of as few as fill a
        forward of sections, its halo would leave next to nothing.
        """
        return forward_pixels if self.sectionwise else 4 * forward_pixels

    def padded(self, extent: ZYX) -> ZYX:
        """An extent rounded up to the stride."""
        z, y, x = (-(-n // s) * s for n, s in zip(extent, self.stride, strict=True))
        return z, y, x

    def smallest(self, shape: ZYX) -> ZYX:
        """Extent of the smallest tile that the network can be shown of a volume."""
        z, y, x = (
            min(2 * h + s, padded)
            for h, s, padded in zip(
                self.halo_in(shape), self.stride, self.padded(shape), strict=True
            )
        )
        return z, y, x


def unet_footprint(
    levels: int, *, planar_levels: int, neighbours: int = 0, local: bool = True
) -> Footprint:
    """The footprint of a U-Net with two SAME convolutions per block.

    Args:
        levels: How often it pools; the bottleneck is a level more.
        planar_levels: The finest of these levels convolve and pool in-plane only; levels + 1
            or more makes a network of single sections.
        neighbours: As of ``Footprint``.
        local: As of ``Footprint``.
    """
    deep = [level >= planar_levels for level in range(levels + 1)]
    z_pools, z_radii = [2 if here else 1 for here in deep[:-1]], [int(here) for here in deep]
    planar = [2] * levels, [1] * (levels + 1)
    z_stride, stride = 2 ** sum(deep[:-1]), 2**levels
    halo = unet_halo(*planar)
    return Footprint(
        (z_stride, stride, stride), (unet_halo(z_pools, z_radii), halo, halo), neighbours, local
    )
