"""Random changes of a training batch that leave its labels true."""

import torch
from torch import Tensor


def augment(raw: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Flips, quarter turns, contrast, brightness.

    All sections of a crop move together and change their grey values alike, and but for a flip
    nothing moves along z: resolution and noise differ between z and the plane.

    Nothing is bent, scaled, blurred or made noisy: at the few hundred steps of a round that costs
    more of what a network learns from few labels than it gives (docs/label-efficiency.md).

    Args:
        raw: float32, (N, z, y, x), on the unit scale; may have more sections at either end than
            there are labels.
        labels: Channel indices, uint8, (N, z, y, x).
        generator: Every random choice is drawn from it.

    Returns:
        Both, changed, of the same shapes.
    """
    pairs = [_turned(r, v, generator) for r, v in zip(raw, labels, strict=True)]
    raw = torch.stack([pair[0] for pair in pairs])
    return _recoloured(raw, generator), torch.stack([pair[1] for pair in pairs])


def _turned(raw: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    quarters = int(torch.randint(4, (), generator=generator))
    flip = bool(torch.randint(2, (), generator=generator))
    over = raw.shape[0] > 1 and bool(torch.randint(2, (), generator=generator))
    if raw.shape[1] != raw.shape[2]:
        quarters -= quarters % 2
    made = [torch.rot90(crop, quarters, (1, 2)) for crop in (raw, labels)]
    if flip:
        made = [crop.flip(1) for crop in made]
    if over:
        made = [crop.flip(0) for crop in made]
    return made[0], made[1]


def _recoloured(raw: Tensor, generator: torch.Generator) -> Tensor:
    def each(low: float, high: float) -> Tensor:
        drawn = torch.rand(len(raw), 1, 1, 1, generator=generator)
        return drawn * (high - low) + low

    # Relative to the crop's own values, since 16-bit data often fill a small part of their range.
    mean = raw.mean(dim=(1, 2, 3), keepdim=True)
    spread = raw.std(dim=(1, 2, 3), keepdim=True)
    return (raw - mean) * each(0.85, 1.15) + mean + spread * each(-0.3, 0.3)
