"""Networks of a backbone and a classifier, such as torchvision's, among the platform's own."""

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from biosegment.client.errors import FailedPreconditionError
from biosegment.nets.footprint import Footprint
from biosegment.nets.network import Network, Windows, cropped

_CHANNELS = 3


class BackboneNetwork(Network):
    """A classifier over the features of a backbone, enlarged to the size of the section.

    Follows the shape of ``torchvision.models.segmentation``: a backbone gives features by name,
    the classifier takes "out" of them, or all where there is no such name.
    """

    def __init__(
        self, body: nn.Module, footprint: Footprint, *, classes: int, heads: tuple[str, ...]
    ) -> None:
        """Takes a body over.

        Args:
            body: With submodules ``backbone`` and ``classifier``; takes pictures of 3 channels.
            footprint: How it looks at a volume; at single sections with at most one neighbour.
            classes: Channels of the classifier's output.
            heads: Names of its last convolutions within the body.
        """
        with torch.no_grad():
            extent = footprint.stride[1:]
            body.eval()
            features = _backbone(body)(torch.zeros(1, _CHANNELS, *extent))
        super().__init__(
            footprint,
            classes=classes,
            embedding_size=_deepest(features).shape[1],
            heads=tuple(f"body.{name}" for name in heads),
        )
        self.body = body.train()

    def encode(self, x: Tensor) -> tuple[Tensor, Any]:
        """The backbone's deepest features; all of them, and the size to come back to."""
        if x.shape[1] == 1:
            x = x.expand(-1, _CHANNELS, -1, -1)
        features = _backbone(self.body)(x)
        return _deepest(features), (features, x.shape[-2:])

    def decode(self, deepest: Tensor, rest: Any, windows: Windows | None) -> Tensor:
        """Class logits, enlarged bilinearly."""
        features, size = rest
        classifier = cast("nn.Module", self.body.classifier)
        logits = classifier(deepest if "out" in features else features)
        logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return logits if windows is None else cropped(logits, windows[0])


def _backbone(body: nn.Module) -> nn.Module:
    return cast("nn.Module", body.backbone)


def _deepest(features: Mapping[str, Tensor]) -> Tensor:
    return features["out"] if "out" in features else list(features.values())[-1]


def from_torchvision(
    builder: str, footprint: Footprint, *, classes: int, dropout: float | None
) -> Network:
    """A network of torchvision with fresh weights; nothing is downloaded.

    Args:
        builder: A function of ``torchvision.models.segmentation``.
        footprint: How the network looks at a volume.
        classes: Channels of the output.
        dropout: Rate of its dropout layers; None leaves them as they are.

    Raises:
        FailedPreconditionError: torchvision cannot be imported.
    """
    try:
        from torchvision.models import segmentation
    except (ImportError, RuntimeError) as error:
        # A build for another torch raises RuntimeError when it registers its operators.
        raise FailedPreconditionError(
            f"torchvision is installed but cannot be imported ({error}). Install the build that "
            f"belongs to torch {torch.__version__}, or take a U-Net."
        ) from None
    body = getattr(segmentation, builder)(weights=None, weights_backbone=None, num_classes=classes)
    if dropout is not None:
        for module in body.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout
    heads = [f"classifier.{name}" for name, _ in body.classifier.named_children()]
    last = [name for name in heads if name.endswith("_classifier")] or heads[-1:]
    return BackboneNetwork(body, footprint, classes=classes, heads=tuple(last))
