"""The architectures on offer, as words and numbers. Free of torch, for servicers."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from biosegment.client.errors import InvalidArgumentError
from biosegment.nets.families import Architecture, TorchvisionArchitecture, UNetArchitecture
from biosegment.nets.parameters import Parameter, Parameters

MAX_CLASSES = 254
"""Class values are 0 to 253."""
# On by default, or strategies that need it could not be chosen later on.
_DROPOUT = Parameter(0.1, 0.0, 0.9)


def _unet2d(name: str, description: str, feature_maps: int, *, local: bool = True) -> Architecture:
    parameters = {
        "feature_maps": Parameter(feature_maps, 1, 256),
        "levels": Parameter(4, 1, 6),
        # The section itself and as many neighbours on either side: a 2.5-D network.
        "in_channels": Parameter(1, 1, 15, odd=True),
        "dropout": _DROPOUT,
    }
    return UNetArchitecture(name=name, description=description, parameters=parameters, local=local)


def _unet3d(name: str, description: str, feature_maps: int) -> Architecture:
    parameters = {
        "feature_maps": Parameter(feature_maps, 1, 256),
        "levels": Parameter(3, 1, 6),
        # Sections are often twice as thick as a pixel is wide, and more.
        "planar_levels": Parameter(1, 0, 6),
        "dropout": _DROPOUT,
    }
    return UNetArchitecture(name=name, description=description, parameters=parameters, axes=3)


def _torchvision(
    name: str, description: str, builder: str, pixel_bytes: int, weights: int
) -> Architecture:
    # Its first convolution takes three channels: a section three times, or one with neighbours.
    parameters = {"in_channels": Parameter(1, 1, 3, odd=True)}
    if not name.startswith("lraspp"):
        parameters["dropout"] = _DROPOUT
    return TorchvisionArchitecture(
        name=name,
        description=f"{description} (torchvision).",
        parameters=parameters,
        local=False,
        # What is pooled to one pixel cannot be normalised over a batch of one.
        smallest_batch=2 if name.startswith("deeplab") else 1,
        builder=builder,
        pixel_bytes=pixel_bytes,
        weights=weights,
    )


_UNETS = (
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
    _unet2d(
        "unet2d-group",
        "The two-dimensional U-Net with group normalisation: for batches of one or two large "
        "patches, at the price of running on whole sections.",
        64,
        local=False,
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
_TORCHVISION = (
    _torchvision("fcn-resnet50", "FCN on ResNet-50", "fcn_resnet50", 640, 33),
    _torchvision("deeplabv3-resnet50", "DeepLabv3 on ResNet-50", "deeplabv3_resnet50", 768, 40),
    _torchvision("deeplabv3-resnet101", "DeepLabv3 on ResNet-101", "deeplabv3_resnet101", 768, 59),
    _torchvision(
        "deeplabv3-mobilenet",
        "DeepLabv3 on MobileNetV3: small",
        "deeplabv3_mobilenet_v3_large",
        256,
        11,
    ),
    _torchvision(
        "lraspp-mobilenet",
        "LR-ASPP on MobileNetV3: the smallest",
        "lraspp_mobilenet_v3_large",
        256,
        3,
    ),
)

# Only looked for: importing it would import torch, which servicers do without.
ARCHITECTURES: dict[str, Architecture] = {
    made.name: made for made in (*_UNETS, *(_TORCHVISION if find_spec("torchvision") else ()))
}
"""Every architecture that can be used here by its name."""


def describe() -> list[Architecture]:
    """The architectures, by name."""
    return [ARCHITECTURES[name] for name in sorted(ARCHITECTURES)]


def find(architecture: str) -> Architecture:
    """The architecture of a name.

    Raises:
        InvalidArgumentError: There is none.
    """
    found = ARCHITECTURES.get(architecture)
    if found is None and architecture in {known.name for known in _TORCHVISION}:
        raise InvalidArgumentError(
            f"The architecture {architecture} needs torchvision, which is not installed here: "
            "pip install 'biosegment[torchvision]', then start the platform again.",
            field="architecture",
        )
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
