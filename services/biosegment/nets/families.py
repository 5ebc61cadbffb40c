"""What an architecture is, for the families of networks on offer. Free of torch."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from biosegment.client.geometry import ZYX
from biosegment.nets.footprint import Footprint, unet_footprint
from biosegment.nets.parameters import Parameter, Parameters

# Of about as many voxels, so that batches of either take about as long.
_PATCHES: dict[int, ZYX] = {2: (1, 128, 128), 3: (16, 64, 64)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture(ABC):
    """A network that models can be made of.

    Attributes:
        name: Such as "unet2d".
        description: In a sentence.
        parameters: What can be set, by name.
        axes: How many it convolves: 2 for a network of sections, 3 for one of volumes.
        local: Whether a halo is enough; see ``Footprint.local``.
        smallest_batch: Sections (for volumes: crops) that a training step needs at least.
    """

    name: str
    description: str
    parameters: Mapping[str, Parameter]
    axes: int = 2
    local: bool = True
    smallest_batch: int = 1

    @property
    def defaults(self) -> Parameters:
        """The default of every parameter."""
        return {name: parameter.default for name, parameter in self.parameters.items()}

    def patch(self, parameters: Parameters) -> ZYX:
        """Extent of what it trains on where nothing is said, (z, y, x)."""
        return self.footprint(parameters).padded(_PATCHES[self.axes])

    @abstractmethod
    def footprint(self, parameters: Parameters) -> Footprint:
        """How the network looks at a volume."""

    @abstractmethod
    def activation_bytes(self, parameters: Parameters) -> int:
        """Rough peak memory of one inference forward per input voxel, in bytes."""

    @abstractmethod
    def weight_bytes(self, parameters: Parameters) -> int:
        """Rough size of the weights, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetArchitecture(Architecture):
    """A network of ``unet.UNet``; local means batch normalisation, else it is by groups."""

    def footprint(self, parameters: Parameters) -> Footprint:
        """How the network looks at a volume."""
        levels = int(parameters["levels"])
        planar = levels + 1 if self.axes == 2 else min(levels, int(parameters["planar_levels"]))
        neighbours = int(parameters.get("in_channels", 1)) // 2
        return unet_footprint(levels, planar_levels=planar, neighbours=neighbours, local=self.local)

    def activation_bytes(self, parameters: Parameters) -> int:
        """Rough peak memory of one inference forward per input voxel, in bytes.

        At the finest level the skip, the upsampled features, both of them joined, and a
        convolution's input and output live at once, as float32; the coarser levels add less than
        half of that, and so do the gaps between what the process keeps from forward to forward.
        """
        return int(parameters["feature_maps"]) * 4 * 11

    def weight_bytes(self, parameters: Parameters) -> int:
        """Rough size of the weights, in bytes: 31 million float32 at 64 maps and 4 levels.

        Kernels of three axes hold three times as many.
        """
        maps, levels = int(parameters["feature_maps"]), int(parameters["levels"])
        flat = 4 * 31_000_000 * maps**2 * (1 << 2 * levels) // (64**2 * 4**4)
        return flat * (3 if self.axes == 3 else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchvisionArchitecture(Architecture):
    """A network of ``torchvision.models.segmentation``.

    Attributes:
        builder: The function there that makes it.
        pixel_bytes: As ``activation_bytes``, measured.
        weights: How many it has, in millions.
    """

    builder: str
    pixel_bytes: int
    weights: int

    def footprint(self, parameters: Parameters) -> Footprint:
        """Whole sections: pooled over all of it, or seen through dilated kernels almost all."""
        neighbours = int(parameters["in_channels"]) // 2
        return Footprint((1, 16, 16), (0, 0, 0), neighbours, local=self.local)

    def activation_bytes(self, parameters: Parameters) -> int:
        """Rough peak memory of one inference forward per input pixel, in bytes."""
        return self.pixel_bytes

    def weight_bytes(self, parameters: Parameters) -> int:
        """Rough size of the weights, in bytes."""
        return self.weights * 4_000_000
