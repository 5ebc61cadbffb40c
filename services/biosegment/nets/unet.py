"""The two-dimensional U-Net of Ronneberger et al. (2015), with SAME convolutions."""

from typing import cast

import torch
from torch import Tensor, nn

from biosegment.client.errors import InvalidArgumentError
from biosegment.nets.receptive import unet_halo


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


class UNet2D(nn.Module):
    """U-Net over sections: double convolutions, max-pooling, transposed convolutions, skips.

    Batch normalisation has frozen statistics in eval mode, so a pixel depends on its
    receptive field alone and tiles can be put together without seams.

    Attributes:
        ndim: Spatial axes of the input, 2.
        stride: Height and width of the input must be multiples of it.
        halo: Pixels beyond a tile's core that can change the core's output, a multiple of stride.
        classes: Channels of the output.
        embedding_size: Length of the bottleneck embedding.

    Dropout follows the bottleneck and the blocks next to it, where leaving maps out makes passes
    differ most and costs least, as in Kendall, Badrinarayanan and Cipolla, "Bayesian SegNet"
    (2017); fine detail is left alone.
    """

    ndim = 2
    input_mean: Tensor
    input_std: Tensor

    def __init__(
        self,
        *,
        classes: int,
        feature_maps: int = 64,
        levels: int = 4,
        in_channels: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.stride = 2**levels
        self.halo = unet_halo(levels)
        self.classes = classes
        widths = [feature_maps * 2**level for level in range(levels + 1)]
        self.embedding_size = widths[-1]
        # Constants of the training data; they travel with the weights.
        self.register_buffer("input_mean", torch.zeros(()))
        self.register_buffer("input_std", torch.ones(()))
        # Of each path from the fine end to the deep one.
        rates = [0.0] * (levels - 1) + [dropout]
        self.encoder = nn.ModuleList(
            DoubleConv(inputs, outputs, rate)
            for inputs, outputs, rate in zip(
                [in_channels, *widths[:-2]], widths[:-1], rates, strict=True
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

    def set_input_statistics(self, mean: float, std: float) -> None:
        """Fixes the constants that inputs are shifted and divided by."""
        self.input_mean.fill_(mean)
        self.input_std.fill_(max(std, 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """Class logits.

        Args:
            x: float32, (N, in_channels, H, W), on the scale of ``intensity.unit_scale``.

        Returns:
            float32, (N, classes, H, W).

        Raises:
            InvalidArgumentError: H or W is no multiple of the stride.
        """
        return self._decode(*self._encode(x))

    def forward_with_embedding(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (N, classes, H, W) and embeddings (N, embedding_size), in one pass."""
        deepest, skips = self._encode(x)
        return self._decode(deepest, skips), deepest.mean(dim=(2, 3))

    def embed(self, x: Tensor) -> Tensor:
        """Mean of the bottleneck features over space, (N, embedding_size)."""
        return self._encode(x)[0].mean(dim=(2, 3))

    def _encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        if x.shape[-2] % self.stride or x.shape[-1] % self.stride:
            raise InvalidArgumentError(
                f"The network takes sections whose height and width are multiples of {self.stride}"
                f", not {x.shape[-2]} × {x.shape[-1]}."
            )
        x = (x - self.input_mean) / self.input_std
        skips = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        return self.bottleneck(x), skips

    def _decode(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(torch.cat((skips.pop(), up(x)), dim=1))
        return cast("Tensor", self.head(x))


def channels_last(module: UNet2D) -> UNet2D:
    """Returns the network with its weights laid out channels-last, which convolves faster."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module
