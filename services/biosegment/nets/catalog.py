"""The architectures on offer, as words and numbers. Free of torch, for servicers."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from biosegment.client.errors import InvalidArgumentError
from biosegment.nets.receptive import unet_halo

Parameters = dict[str, int | float]
MAX_CLASSES = 254
"""Class values are 0 to 253."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an architecture.

    Attributes:
        default: Taken where none is given; its type is the parameter's type.
        minimum: Smallest value allowed.
        maximum: Largest value allowed.
    """

    default: int | float
    minimum: int | float
    maximum: int | float

    def check(self, name: str, value: Any) -> int | float:
        """The value in the parameter's type.

        Raises:
            InvalidArgumentError: It is no number, not whole where it must be, or out of range.
        """
        whole = isinstance(self.default, int)
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise InvalidArgumentError(f"The parameter {name} must be a number.", field=name)
        if whole and value != int(value):
            raise InvalidArgumentError(
                f"The parameter {name} must be a whole number, not {value}.", field=name
            )
        if not self.minimum <= value <= self.maximum:
            raise InvalidArgumentError(
                f"The parameter {name} must lie between {self.minimum} and {self.maximum}; it is "
                f"{value:g}.",
                field=name,
            )
        return int(value) if whole else float(value)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network that models can be made of.

    Attributes:
        name: Such as "unet2d".
        description: In a sentence.
        parameters: What can be set, by name.
    """

    name: str
    description: str
    parameters: Mapping[str, Parameter]

    @property
    def defaults(self) -> Parameters:
        """The default of every parameter."""
        return {name: parameter.default for name, parameter in self.parameters.items()}


def _unet2d(name: str, description: str, feature_maps: int) -> Architecture:
    return Architecture(
        name,
        description,
        {
            "feature_maps": Parameter(feature_maps, 1, 256),
            "levels": Parameter(4, 1, 6),
            "in_channels": Parameter(1, 1, 1),
            # On by default, or strategies that need it could not be chosen later on.
            "dropout": Parameter(0.1, 0.0, 0.9),
        },
    )


ARCHITECTURES: dict[str, Architecture] = {
    made.name: made
    for made in (
        _unet2d(
            "unet2d",
            "Two-dimensional U-Net with batch normalisation, applied section by section.",
            64,
        ),
        _unet2d(
            "unet2d-quarter",
            "The two-dimensional U-Net with a quarter of the feature maps: fast enough for a "
            "laptop, and hard to overfit with few labels.",
            16,
        ),
    )
}
"""Every architecture by its name."""


def describe() -> list[Architecture]:
    """The architectures, by name."""
    return [ARCHITECTURES[name] for name in sorted(ARCHITECTURES)]


def resolve(architecture: str, parameters: Mapping[str, Any]) -> Parameters:
    """Every parameter of an architecture, defaults filled in.

    Args:
        architecture: Its name.
        parameters: What was set; whole numbers may come as floats, as protobuf's Struct has them.

    Raises:
        InvalidArgumentError: The architecture or a parameter is unknown, or a value is not allowed.
    """
    found = ARCHITECTURES.get(architecture)
    if found is None:
        raise InvalidArgumentError(
            f'There is no architecture "{architecture[:80]}"; choose one of '
            f"{', '.join(sorted(ARCHITECTURES))}.",
            field="architecture",
        )
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


def activation_bytes(parameters: Parameters) -> int:
    """Rough peak memory of one inference forward per input pixel, in bytes.

    At the finest level the skip, the upsampled features, both of them joined, and a convolution's
    input and output live at once, as float32; the coarser levels add less than half of that.
    """
    return int(parameters["feature_maps"]) * 4 * 8


def halo(parameters: Parameters) -> int:
    """Pixels that a tile must read beyond its core on each in-plane side."""
    return unet_halo(int(parameters["levels"]))


def weight_bytes(parameters: Parameters) -> int:
    """Rough size of a U-Net's weights, in bytes: 31 million float32 at 64 maps and 4 levels."""
    maps, levels = int(parameters["feature_maps"]), int(parameters["levels"])
    return 4 * 31_000_000 * maps**2 * (1 << 2 * levels) // (64**2 * 4**4)
