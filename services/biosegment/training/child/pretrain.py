"""Self-supervised training on raw voxels alone: a start that is not blind.

The network learns to restore crops that were hidden in blocks and blurred by noise, as
denoising autoencoders do (Vincent et al., "Extracting and Composing Robust Features with
Denoising Autoencoders", 2008; for masking, Pathak et al., "Context Encoders", 2016). All of its
weights but those of the head are then worth starting from.

What is restored is what the network predicts: every section of a crop but those that come as
neighbours only. A block is hidden in all sections of a crop at once, as in the tubes of Tong et
al., "VideoMAE" (2022): next to it in z lies nearly the same picture, and copying that teaches
little.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from numpy.typing import NDArray
from torch import Tensor

from biosegment.client.errors import FailedPreconditionError
from biosegment.client.geometry import ZYX, Box
from biosegment.nets.intensity import unit_scale
from biosegment.nets.network import Network, channels_last, other_heads
from biosegment.nets.padding import read_with_neighbours
from biosegment.runtime.grey import constant
from biosegment.training.child.augment import augment
from biosegment.training.child.fit import Batch, run
from biosegment.training.child.module import Training
from biosegment.training.child.samples import raw_statistics
from biosegment.training.child.settings import Hooks, Outcome, Settings

_MOST_CROPS = 2000
_MOST_CROP_BYTES = 256 << 20
# In a region that is mostly padding, crops of tissue are drawn this much more seldom.
_TRIES = 8
_MOST_PADDING = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """What is done to a crop before the network sees it.

    Attributes:
        block: Height and width of a hidden block, in pixels; it goes through all sections.
        hidden: Fraction of the blocks that are hidden.
        noise: Standard deviation of the noise, in standard deviations of the data.
        hidden_weight: Weight of the hidden pixels in the loss, 0 to 1; the others have the rest.
    """

    block: int = 8
    hidden: float = 0.4
    noise: float = 0.5
    hidden_weight: float = 0.7


class Restoring(Training):
    """Training whose batches are pairs of what is seen and what was there, both (N, z, y, x)."""

    def __init__(self, network: Network, settings: Settings, hidden_weight: float) -> None:
        super().__init__(
            network,
            learning_rate=settings.learning_rate,
            steps=settings.steps,
            dice_weight=0.0,
            seed=settings.seed,
        )
        self._hidden_weight = hidden_weight

    def loss(self, batch: Batch) -> Tensor:
        """Mean absolute error in standard deviations, apart for hidden and seen pixels.

        Hidden pixels hold NaN in what is seen; the network is given the mean there.
        """
        seen, truth = batch
        hidden = seen.isnan()
        mean, std = self.network.input_mean, self.network.input_std
        restored = self.network(torch.where(hidden, mean, seen)).squeeze(1)
        neighbours, depth = self.network.footprint.neighbours, restored.shape[1]
        truth, hidden = (made.narrow(1, neighbours, depth) for made in (truth, hidden))
        error: Tensor = (restored - (truth - mean) / std).abs()
        inside = (error * hidden).sum() / hidden.sum().clamp(min=1)
        outside = (error * ~hidden).sum() / (~hidden).sum().clamp(min=1)
        return self._hidden_weight * inside + (1.0 - self._hidden_weight) * outside


def pretrain(
    network: Network,
    crops: NDArray[Any],
    settings: Settings,
    hooks: Hooks,
    *,
    corruption: Corruption | None = None,
    checkpoint: bytes | None = None,
) -> Outcome:
    """Trains all of a network but its head on unlabelled crops, in place.

    The network's input constants become those of the crops. It is left on the CPU in eval mode,
    with the head that it came with.

    Args:
        network: With fresh weights.
        crops: Raw voxels, (crops, z + 2 x neighbours, y, x), uint8, uint16 or float32; extents
            are multiples of the network's stride.
        settings: How to train; batches are of whole crops, and dice_weight has no meaning.
        hooks: Progress, checkpoints, cancellation.
        corruption: What the network has to undo.
        checkpoint: Of an earlier attempt with the same crops and settings.

    Raises:
        FailedPreconditionError: There are no crops, their type is none that networks take, or
            the loss is not finite.
        JobCancelledError: hooks.cancelled said so; a checkpoint was stored before.
        OutOfMemoryError: The device has too little memory for the batch.
    """
    if not len(crops):
        raise FailedPreconditionError("There are no crops to learn from.")
    how = corruption or Corruption()
    network.set_input_statistics(*raw_statistics(list(crops)))
    std = float(network.input_std)

    def batch(step: int) -> Batch:
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
        chosen = torch.randint(len(crops), (settings.batch_size,), generator=generator)
        raw = torch.from_numpy(unit_scale(crops[chosen.numpy()]))
        truth, _ = augment(raw, torch.zeros(raw.shape, dtype=torch.uint8), generator)
        return corrupted(truth, how, std, generator), truth

    torch.manual_seed(settings.seed)
    try:
        with other_heads(network, 1):
            module = Restoring(channels_last(network.train()), settings, how.hidden_weight)
            return run(module, batch, settings, hooks, checkpoint=checkpoint)
    finally:
        network.cpu().eval()


def draw_crops(
    read: Callable[[Box], NDArray[Any]],
    region: Box,
    patch: ZYX,
    *,
    neighbours: int = 0,
    seed: int,
    check: Callable[[], None] = lambda: None,
) -> NDArray[Any]:
    """Reads crops from random places of a region.

    Args:
        read: Reads raw voxels of a box, axes ZYX.
        region: Where from; nothing outside it is read.
        patch: Extent of a crop, (z, y, x).
        neighbours: Sections on either side that the network takes with each.
        seed: Of the places.
        check: Called between reads; may raise to stop.

    Returns:
        (crops, z + 2 x neighbours, y, x), of the data's type; at most 2000 crops and 256 MiB. Crops
        without any padding are taken first, and none of more than half.

    Raises:
        FailedPreconditionError: The region is smaller than a crop, or holds padding alone.
    """
    room = [extent - size + 1 for extent, size in zip(region.shape, patch, strict=True)]
    if min(room) < 1:
        raise FailedPreconditionError(
            f"The region {region} is smaller than a crop of {' × '.join(map(str, patch))} voxels "
            "(z, y, x). Take a larger region or a smaller patch."
        )
    rng = np.random.default_rng([seed, 2])
    crops: list[NDArray[Any]] = []
    partly: list[NDArray[Any]] = []
    most = _MOST_CROPS
    for _ in range(_TRIES * _MOST_CROPS):
        check()
        z, y, x = (s + int(rng.integers(n)) for s, n in zip(region.start, room, strict=True))
        crop = read_with_neighbours(read, Box.at((z, y, x), patch), neighbours, region)
        most = min(_MOST_CROPS, -(-_MOST_CROP_BYTES // crop.nbytes))
        padding = np.mean([constant(section).mean() for section in crop])
        if not padding:
            crops.append(crop)
        elif padding <= _MOST_PADDING and len(crops) + len(partly) < most:
            partly.append(crop)
        if len(crops) == most:
            break
    crops = (crops + partly)[:most]
    if not crops:
        raise FailedPreconditionError(
            f"Nothing can be learnt from the region {region}: it is padding, of one grey value in "
            "wide areas. Take another region."
        )
    return np.stack(crops)


def corrupted(truth: Tensor, how: Corruption, std: float, generator: torch.Generator) -> Tensor:
    """Crops with noise, and NaN in the blocks that are hidden.

    Args:
        truth: (N, z, y, x) on the unit scale.
        how: What to do to them.
        std: Standard deviation of the data on that scale.
        generator: Every random choice is drawn from it.
    """
    count, _, height, width = truth.shape
    rows, columns = -(-height // how.block), -(-width // how.block)
    blocks = torch.rand(count, 1, rows, columns, generator=generator) < how.hidden
    hidden = F.interpolate(blocks.float(), scale_factor=how.block)[..., :height, :width] > 0
    # The strength differs from crop to crop, so that clean ones are among them.
    strength = torch.rand(count, 1, 1, 1, generator=generator) * how.noise * std
    noisy = truth + torch.randn(truth.shape, generator=generator) * strength
    return noisy.masked_fill(hidden, float("nan"))
