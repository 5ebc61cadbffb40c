"""What training and inference ask of every network, however many axes it convolves."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from biosegment.client.errors import InvalidArgumentError
from biosegment.nets.footprint import Footprint

# See ``Network.windows``.
Windows = Tensor


def cropped(x: Tensor, window: Tensor, begin: Tensor | int = 0) -> Tensor:
    """A part of feature maps.

    Args:
        x: (n, channels, …).
        window: First and first after the last of what to keep along the axes after channels,
            (axes, 2).
        begin: Where ``x`` begins, (axes, 1), or 0.
    """
    # Indices that are tensors are seen when the network is traced; numbers would be fixed.
    place: Any = (..., *(slice(low, high) for low, high in window - begin))
    return x[place]


class Network(nn.Module):
    """Volumes in, class logits out.

    A network takes raw voxels (N, z, y, x) with ``footprint.neighbours`` more sections at either
    end than it predicts. One that looks at single sections gets each with its neighbours as the
    channels of a picture; one that convolves along z gets the volume.

    Attributes:
        footprint: How it looks at a volume.
        classes: Channels of the output.
        embedding_size: Length of the bottleneck embedding.
        heads: Names of the submodules, convolutions, that give one map per class each.
    """

    input_mean: Tensor
    input_std: Tensor

    def __init__(
        self, footprint: Footprint, *, classes: int, embedding_size: int, heads: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.footprint = footprint
        self.classes = classes
        self.embedding_size = embedding_size
        self.heads = heads
        # Constants of the training data; they travel with the weights.
        self.register_buffer("input_mean", torch.zeros(()))
        self.register_buffer("input_std", torch.ones(()))

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Any]:
        """The deepest features (n, embedding_size, …), and whatever ``decode`` needs with them.

        Args:
            x: Normalised voxels, (n, channels, y, x) for single sections, else (n, 1, z, y, x).
        """

    @abstractmethod
    def decode(self, deepest: Tensor, rest: Any, windows: Windows | None) -> Tensor:
        """Class logits with the axes of what was encoded.

        Args:
            deepest: As of ``encode``.
            rest: As of ``encode``.
            windows: What of it to predict, as of ``windows``; all of it where None.
        """

    def windows(self, extent: Sequence[int], core: Sequence[slice]) -> Windows:
        """What ``forward`` needs to know to predict no more than a part of what it is shown.

        Args:
            extent: Of what is shown, along the axes that are convolved.
            core: The part, along the same axes.

        Returns:
            int64, (levels, axes, 2): first and first after the last of what each level is to give,
            the finest level first.
        """
        return torch.tensor([[(part.start, part.stop) for part in core]])

    def set_input_statistics(self, mean: float, std: float) -> None:
        """Fixes the constants that inputs are shifted and divided by."""
        self.input_mean.fill_(mean)
        self.input_std.fill_(max(std, 1e-6))

    def forward(self, x: Tensor, windows: Windows | None = None) -> Tensor:
        """Class logits.

        Args:
            x: float32, (N, z + 2 x neighbours, y, x), on the scale of ``intensity.unit_scale``.
            windows: Of what is to be predicted, by ``windows``; all of it where None.

        Returns:
            float32, (N, classes, z, y, x), of what is to be predicted.

        Raises:
            InvalidArgumentError: z, y or x is no multiple of the stride.
        """
        return self._logits(self.decode(*self.encode(self._seen(x)), windows), x.shape[0])

    def forward_with_embedding(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (N, classes, z, y, x) and embeddings (N, embedding_size), in one pass."""
        deepest, rest = self.encode(self._seen(x))
        count = x.shape[0]
        logits = self._logits(self.decode(deepest, rest, None), count)
        return logits, self._embedding(deepest, count)

    def embed(self, x: Tensor) -> Tensor:
        """Mean of the bottleneck features over space, (N, embedding_size)."""
        return self._embedding(self.encode(self._seen(x))[0], x.shape[0])

    @property
    def dense_axes(self) -> int:
        """Axes that it convolves."""
        return 2 if self.footprint.sectionwise else 3

    def _seen(self, x: Tensor) -> Tensor:
        around = 2 * self.footprint.neighbours
        extent = (x.shape[1] - around, *x.shape[2:])
        stride = self.footprint.stride
        if extent[0] < 1 or any(n % s for n, s in zip(extent, stride, strict=True)):
            raise InvalidArgumentError(
                "The network takes extents (z, y, x) that are multiples of "
                f"{' × '.join(map(str, stride))}, not {' × '.join(map(str, extent))}."
            )
        x = (x - self.input_mean) / self.input_std
        if self.dense_axes == 3:
            return x.unsqueeze(1)
        # (N, z, y, x, channels) as a view: channels lie last already.
        windows = x.unfold(1, around + 1, 1).flatten(0, 1).movedim(-1, 1)
        return windows.contiguous(memory_format=torch.channels_last)

    def _logits(self, made: Tensor, count: int) -> Tensor:
        if self.dense_axes == 3:
            return made
        return made.reshape(count, -1, *made.shape[1:]).movedim(1, 2)

    def _embedding(self, deepest: Tensor, count: int) -> Tensor:
        pooled = deepest.mean(dim=tuple(range(2, deepest.ndim)))
        return pooled.reshape(count, -1, pooled.shape[1]).mean(dim=1)


@contextmanager
def other_heads(network: Network, channels: int) -> Iterator[None]:
    """Puts fresh heads of another number of channels on a network for a while."""
    kept = {name: network.get_submodule(name) for name in network.heads}
    for name, head in kept.items():
        assert isinstance(head, nn.Conv2d | nn.Conv3d)
        network.set_submodule(name, type(head)(head.in_channels, channels, 1))
    try:
        yield
    finally:
        for name, head in kept.items():
            network.set_submodule(name, head)


def channels_last(network: Network) -> Network:
    """Returns the network with its weights laid out channels-last, which convolves faster."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in network.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])
    return network
