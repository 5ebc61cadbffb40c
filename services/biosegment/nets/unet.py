"""The U-Net of Ronneberger et al. (2015), in 2-D and in 3-D, with SAME convolutions."""

from collections.abc import Callable, Sequence
from math import gcd
from typing import Any, cast

import torch
from torch import Tensor, nn

from biosegment.nets.footprint import unet_footprint
from biosegment.nets.network import Network, Windows, cropped
from biosegment.nets.receptive import unet_windows

# By the number of axes that are convolved. Any, since their signatures differ in nothing else.
_CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
_UP: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_POOL: dict[int, Any] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_NORM: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_DROPOUT: dict[int, Any] = {2: nn.Dropout2d, 3: nn.Dropout3d}


class DoubleConv(nn.Sequential):
    """Twice: SAME convolution, normalisation, ReLU; then dropout."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        dropout: float,
        *,
        kernel: tuple[int, ...],
        norm: Callable[[int], nn.Module],
    ) -> None:
        axes, padding = len(kernel), tuple(size // 2 for size in kernel)
        conv = _CONV[axes]
        super().__init__(
            conv(inputs, outputs, kernel, padding=padding, bias=False),
            norm(outputs),
            nn.ReLU(inplace=True),
            conv(outputs, outputs, kernel, padding=padding, bias=False),
            norm(outputs),
            nn.ReLU(inplace=True),
            _DROPOUT[axes](dropout),
        )


def _group_norm(channels: int) -> nn.GroupNorm:
    # At least two channels to a group, or a single pixel could not be normalised.
    return nn.GroupNorm(gcd(8, max(1, channels // 2)), channels)


class UNet(Network):
    """U-Net: double convolutions, max-pooling, transposed convolutions, skips.

    Batch normalisation has frozen statistics in eval mode, so a voxel depends on its
    receptive field alone and tiles can be put together without seams. Group normalisation (Wu
    and He, 2018) looks at all that it is shown, so such a network has to be shown whole sections.

    In 3-D (Çiçek et al., 2016) the finest levels may convolve and pool in-plane only, until the
    voxels of sections that are thicker than a pixel is wide have become about as long as wide.

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
        planar_levels: int | None = None,
        neighbours: int = 0,
        dropout: float = 0.0,
        group_norm: bool = False,
    ) -> None:
        """Makes a network with fresh weights.

        Args:
            classes: Channels of the output.
            feature_maps: Of the finest level; each level has twice as many as the one before.
            levels: Poolings.
            planar_levels: How many of the finest levels of a 3-D network work in-plane only;
                None makes a 2-D network.
            neighbours: Sections on either side that come as channels of a 2-D network (2.5-D).
            dropout: Fraction of feature maps left out in training.
            group_norm: Normalise by groups of channels instead of over the batch.
        """
        widths = [feature_maps * 2**level for level in range(levels + 1)]
        flat = levels + 1 if planar_levels is None else min(planar_levels, levels)
        super().__init__(
            unet_footprint(levels, planar_levels=flat, neighbours=neighbours, local=not group_norm),
            classes=classes,
            embedding_size=widths[-1],
            heads=("head",),
        )
        axes = self.dense_axes
        norm = _group_norm if group_norm else _NORM[axes]
        kernels = [(1 if level < flat else 3, 3, 3)[-axes:] for level in range(levels + 1)]
        pools = [(1 if level < flat else 2, 2, 2)[-axes:] for level in range(levels)]
        # Of each path from the fine end to the deep one.
        rates = [0.0] * (levels - 1) + [dropout]
        self.encoder = nn.ModuleList(
            DoubleConv(inputs, outputs, rate, kernel=kernel, norm=norm)
            for inputs, outputs, rate, kernel in zip(
                [1 + 2 * neighbours, *widths[:-2]], widths[:-1], rates, kernels[:-1], strict=True
            )
        )
        self._pools = pools
        self._radii = [tuple(size // 2 for size in kernel) for kernel in kernels]
        self.pools = nn.ModuleList(_POOL[axes](pool) for pool in pools)
        self.bottleneck = DoubleConv(widths[-2], widths[-1], dropout, kernel=kernels[-1], norm=norm)
        self.up = nn.ModuleList(
            _UP[axes](2 * width, width, pool, pool)
            for width, pool in zip(widths[-2::-1], reversed(pools), strict=True)
        )
        self.decoder = nn.ModuleList(
            DoubleConv(2 * width, width, rate, kernel=kernel, norm=norm)
            for width, rate, kernel in zip(
                widths[-2::-1], reversed(rates), kernels[-2::-1], strict=True
            )
        )
        self.head = _CONV[axes](feature_maps, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The bottleneck's features, and the skips from the fine end on."""
        skips = []
        for block, pool in zip(self.encoder, self.pools, strict=True):
            x = block(x)
            skips.append(x)
            x = pool(x)
        return self.bottleneck(x), skips

    def windows(self, extent: Sequence[int], core: Sequence[slice]) -> Windows:
        """As of ``Network.windows``; the coarser the level, the farther beyond the core."""
        by_axis = []
        for axis, (size, part) in enumerate(zip(extent, core, strict=True)):
            pools = [pool[axis] for pool in self._pools]
            # Normalisation by groups looks at all there is.
            radii = [radius[axis] if self.footprint.local else size for radius in self._radii]
            by_axis.append(unet_windows(pools, radii, (part.start, part.stop), size))
        return torch.tensor(list(zip(*by_axis, strict=True)))

    def decode(self, deepest: Tensor, rest: list[Tensor], windows: Windows | None) -> Tensor:
        """Class logits; uses the skips up, and of each level what the windows ask for."""
        x = deepest
        begin: Tensor | int = 0
        finest_last = reversed(range(len(self.pools)))
        for level, up, block in zip(finest_last, self.up, self.decoder, strict=True):
            skip = rest.pop()
            if windows is not None:
                shown = windows[level + 1] * torch.tensor(self._pools[level]).unsqueeze(1)
                x, skip = cropped(x, windows[level + 1], begin), cropped(skip, shown)
                begin = shown[:, :1]
            x = block(torch.cat((skip, up(x)), dim=1))
        if windows is not None:
            x = cropped(x, windows[0], begin)
        return cast("Tensor", self.head(x))
