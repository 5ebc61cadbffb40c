"""From the name of an architecture to its network."""

from collections.abc import Mapping
from typing import Any

from biosegment.nets import catalog
from biosegment.nets.backbones import from_torchvision
from biosegment.nets.families import TorchvisionArchitecture
from biosegment.nets.network import Network
from biosegment.nets.unet import UNet


def build(architecture: str, parameters: Mapping[str, Any], classes: int) -> Network:
    """Makes a network with fresh weights.

    Args:
        architecture: A name of ``catalog.ARCHITECTURES``.
        parameters: Its parameters; absent ones take the defaults.
        classes: Channels of the output.

    Raises:
        InvalidArgumentError: Architecture, parameters or number of classes are not on offer.
        FailedPreconditionError: The architecture needs torchvision, which cannot be imported.
    """
    resolved = catalog.resolve(architecture, parameters)
    found = catalog.find(architecture)
    catalog.check_classes(classes)
    if isinstance(found, TorchvisionArchitecture):
        return from_torchvision(
            found.builder,
            found.footprint(resolved),
            classes=classes,
            dropout=resolved.get("dropout"),
        )
    return UNet(
        classes=classes,
        feature_maps=int(resolved["feature_maps"]),
        levels=int(resolved["levels"]),
        planar_levels=int(resolved["planar_levels"]) if "planar_levels" in resolved else None,
        neighbours=int(resolved.get("in_channels", 1)) // 2,
        dropout=float(resolved["dropout"]),
        group_norm=not found.local,
    )
