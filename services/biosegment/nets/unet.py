"""The U-Net of Ronneberger et al. (2015), with SAME convolutions."""

from typing import cast

import torch
from torch import Tensor, nn

from biosegment.nets.footprint import unet_footprint
from biosegment.nets.network import Network


class DoubleConv(nn.Sequential):
    """Twice: SAME 3 x 3 convolution, batch normalisation, ReLU; then dropout."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
        )


class UNet(Network):
    """U-Net: double convolutions, max-pooling, transposed convolutions, skips.

    Batch normalisation has frozen statistics in eval mode, so a voxel depends on its
    receptive field alone and tiles can be put together without seams.

    Dropout follows the bottleneck and the blocks next to it, where leaving maps out makes passes
    differ most and costs least, as in Kendall, Badrinarayanan and Cipolla, "Bayesian SegNet"
    (2017); fine detail is left alone.
    """

    def __init__(
        self,
        *,
        classes: int,
        feature_maps: int = 64,
        levels: int = 4,
        neighbours: int = 0,
        dropout: float = 0.0,
    ) -> None:
        """Makes a network with fresh weights.

        Args:
            classes: Channels of the output.
            feature_maps: Of the finest level; each level has twice as many as the one before.
            levels: Poolings.
            neighbours: Sections on either side that come as channels (2.5-D).
            dropout: Fraction of feature maps left out in training.
        """
        widths = [feature_maps * 2**level for level in range(levels + 1)]
        super().__init__(
            unet_footprint(levels, planar_levels=levels + 1, neighbours=neighbours),
            classes=classes,
            embedding_size=widths[-1],
            heads=("head",),
        )
        # Of each path from the fine end to the deep one.
        rates = [0.0] * (levels - 1) + [dropout]
        self.encoder = nn.ModuleList(
            DoubleConv(inputs, outputs, rate)
            for inputs, outputs, rate in zip(
                [1 + 2 * neighbours, *widths[:-2]], widths[:-1], rates, strict=True
            )
        )
        self.pool = nn.MaxPool2d(2)
        self.bottleneck = DoubleConv(widths[-2], widths[-1], dropout)
        pairs = list(zip(reversed(widths[:-1]), reversed(widths[1:]), strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, width, 2, 2) for width, deep in pairs)
        self.decoder = nn.ModuleList(
            DoubleConv(2 * width, width, rate)
            for (width, _), rate in zip(pairs, reversed(rates), strict=True)
        )
        self.head = nn.Conv2d(feature_maps, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The bottleneck's features, and the skips from the fine end on."""
        skips = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        return self.bottleneck(x), skips

    def decode(self, deepest: Tensor, rest: list[Tensor]) -> Tensor:
        """Class logits; uses the skips up."""
        x = deepest
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(torch.cat((rest.pop(), up(x)), dim=1))
        return cast("Tensor", self.head(x))
