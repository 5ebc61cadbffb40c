"""The architectures on offer, as words and numbers. Free of torch, for servicers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import ZYX
from biosegment.nets.footprint import Footprint, unet_footprint
from biosegment.nets.parameters import Parameter, Parameters

MAX_CLASSES = 254
"""Class values are 0 to 253."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network that models can be made of.

    Attributes:
        name: Such as "unet2d".
        description: In a sentence.
        parameters: What can be set, by name.
        axes: How many it convolves: 2 for a network of sections, 3 for one of volumes.
    """

    name: str
    description: str
    parameters: Mapping[str, Parameter]
    axes: int = 2

    @property
    def defaults(self) -> Parameters:
        """The default of every parameter."""
        return {name: parameter.default for name, parameter in self.parameters.items()}

    def footprint(self, parameters: Parameters) -> Footprint:
        """How the network looks at a volume."""
        levels = int(parameters["levels"])
        if self.axes == 3:
            return unet_footprint(
                levels, planar_levels=min(levels, int(parameters["planar_levels"]))
            )
        return unet_footprint(
            levels, planar_levels=levels + 1, neighbours=int(parameters["in_channels"]) // 2
        )

    def patch(self, parameters: Parameters) -> ZYX:
        """Extent of what it trains on where nothing is said, (z, y, x)."""
        return self.footprint(parameters).padded(_PATCHES[self.axes])

    def activation_bytes(self, parameters: Parameters) -> int:
        """Rough peak memory of one inference forward per input voxel, in bytes.

        At the finest level the skip, the upsampled features, both of them joined, and a
        convolution's input and output live at once, as float32; the coarser levels add less than
        half of that.
        """
        return int(parameters["feature_maps"]) * 4 * 8

    def weight_bytes(self, parameters: Parameters) -> int:
        """Rough size of the weights, in bytes: 31 million float32 at 64 maps and 4 levels.

        Kernels of three axes hold three times as many.
        """
        maps, levels = int(parameters["feature_maps"]), int(parameters["levels"])
        flat = 4 * 31_000_000 * maps**2 * (1 << 2 * levels) // (64**2 * 4**4)
        return flat * (3 if self.axes == 3 else 1)


# Of about as many voxels, so that batches of either take about as long.
_PATCHES: dict[int, ZYX] = {2: (1, 128, 128), 3: (16, 64, 64)}


def _unet2d(name: str, description: str, feature_maps: int) -> Architecture:
    return Architecture(
        name,
        description,
        {
            "feature_maps": Parameter(feature_maps, 1, 256),
            "levels": Parameter(4, 1, 6),
            # The section itself and as many neighbours on either side: a 2.5-D network.
            "in_channels": Parameter(1, 1, 15, odd=True),
            # On by default, or strategies that need it could not be chosen later on.
            "dropout": Parameter(0.1, 0.0, 0.9),
        },
    )


def _unet3d(name: str, description: str, feature_maps: int) -> Architecture:
    return Architecture(
        name,
        description,
        {
            "feature_maps": Parameter(feature_maps, 1, 256),
            "levels": Parameter(3, 1, 6),
            # Sections are often twice as thick as a pixel is wide, and more.
            "planar_levels": Parameter(1, 0, 6),
            "dropout": Parameter(0.1, 0.0, 0.9),
        },
        axes=3,
    )


ARCHITECTURES: dict[str, Architecture] = {
    made.name: made
    for made in (
        _unet2d(
            "unet2d",
            "Two-dimensional U-Net with batch normalisation, applied section by section; with "
            "in_channels 3, 5, … it sees the neighbouring sections too (2.5-D).",
            64,
        ),
        _unet2d(
            "unet2d-quarter",
            "The two-dimensional U-Net with a quarter of the feature maps: fast enough for a "
            "laptop, and hard to overfit with few labels.",
            16,
        ),
        _unet3d(
            "unet3d",
            "Three-dimensional U-Net with batch normalisation; its finest planar_levels work "
            "in-plane only, for sections that are thicker than a pixel is wide.",
            32,
        ),
        _unet3d(
            "unet3d-quarter",
            "The three-dimensional U-Net with a quarter of the feature maps.",
            8,
        ),
    )
}
"""Every architecture by its name."""


def describe() -> list[Architecture]:
    """The architectures, by name."""
    return [ARCHITECTURES[name] for name in sorted(ARCHITECTURES)]


def find(architecture: str) -> Architecture:
    """The architecture of a name.

    Raises:
        InvalidArgumentError: There is none.
    """
    found = ARCHITECTURES.get(architecture)
    if found is None:
        raise InvalidArgumentError(
            f'There is no architecture "{architecture[:80]}"; choose one of '
            f"{', '.join(sorted(ARCHITECTURES))}.",
            field="architecture",
        )
    return found


def resolve(architecture: str, parameters: Mapping[str, Any]) -> Parameters:
    """Every parameter of an architecture, defaults filled in.

    Args:
        architecture: Its name.
        parameters: What was set; whole numbers may come as floats, as protobuf's Struct has them.

    Raises:
        InvalidArgumentError: The architecture or a parameter is unknown, or a value is not allowed.
    """
    found = find(architecture)
    unknown = sorted(set(parameters) - set(found.parameters))
    if unknown:
        raise InvalidArgumentError(
            f'The architecture {architecture} has no parameter "{unknown[0][:80]}"; it has '
            f"{', '.join(found.parameters)}.",
            field="parameters",
        )
    return {
        name: parameter.check(name, parameters.get(name, parameter.default))
        for name, parameter in found.parameters.items()
    }


def check_classes(classes: int) -> int:
    """Returns the number of classes if a network can tell that many apart.

    Raises:
        InvalidArgumentError: It cannot.
    """
    if not 2 <= classes <= MAX_CLASSES:
        raise InvalidArgumentError(
            f"A model tells 2 to {MAX_CLASSES} classes apart, not {classes}; the first is "
            "background.",
            field="classes",
        )
    return classes
