"""Random changes of a training batch that leave its labels true."""

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from biosegment.nets.channels import IGNORE


def augment(raw: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Flips, quarter turns, scale, rotation, elastic deformation; contrast, gamma, blur, noise.

    All sections of a crop move together and change their grey values alike, and but for a flip
    nothing moves along z: resolution and noise differ between z and the plane. Labels move with
    the voxels by nearest neighbour, so no new value appears; what comes from outside the crop is
    IGNORE.

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
    labels = torch.stack([pair[1] for pair in pairs])
    raw, labels = _deformed(raw, labels, generator)
    return _recoloured(raw, generator), labels


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


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


def _deformed(raw: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    count, _, height, width = raw.shape
    chosen = _uniform(count, 0.0, 1.0, generator) < 0.5
    scale = 1.0 / _uniform(count, 0.8, 1.25, generator)
    angle = _uniform(count, -math.pi / 12, math.pi / 12, generator)
    cos, sin, zero = scale * angle.cos(), scale * angle.sin(), torch.zeros(count)
    aspect = height / width
    matrix = torch.stack(
        (torch.stack((cos, -sin * aspect, zero), 1), torch.stack((sin / aspect, cos, zero), 1)), 1
    )
    grid = F.affine_grid(matrix, [count, 1, height, width], align_corners=False)
    coarse = torch.randn(count, 2, 5, 5, generator=generator) * 0.02
    bend = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    grid = grid + bend.movedim(1, -1)
    # Sections are channels here: one grid moves them all.
    moved = F.grid_sample(
        raw, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    # Counted from 1, so that the zeros which come from outside are none of the channels.
    counted = torch.where(labels == IGNORE, 0, labels.float() + 1.0)
    moved_labels = F.grid_sample(
        counted, grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    moved_labels = torch.where(moved_labels == 0, float(IGNORE), moved_labels - 1.0).to(
        labels.dtype
    )
    pick = chosen.view(-1, 1, 1, 1)
    return torch.where(pick, moved, raw), torch.where(pick, moved_labels, labels)


def _recoloured(raw: Tensor, generator: torch.Generator) -> Tensor:
    count = raw.shape[0]

    def each(low: float, high: float) -> Tensor:
        return _uniform(count, low, high, generator).view(-1, 1, 1, 1)

    mean = raw.mean(dim=(1, 2, 3), keepdim=True)
    spread = raw.std(dim=(1, 2, 3), keepdim=True)
    low, high = raw.amin(dim=(1, 2, 3), keepdim=True), raw.amax(dim=(1, 2, 3), keepdim=True)
    extent = (high - low).clamp(min=1e-6)
    # Relative to the crop's own range, since 16-bit data often fill a small part of theirs.
    raw = low + extent * ((raw - low) / extent).clamp(min=0).pow(each(0.75, 1.33))
    raw = (raw - mean) * each(0.8, 1.25) + mean + spread * each(-0.3, 0.3)
    blurred = F.avg_pool2d(raw, 3, 1, 1, count_include_pad=False)
    raw = torch.where(each(0.0, 1.0) < 0.2, blurred, raw)
    noise = torch.randn(raw.shape, generator=generator)
    return raw + noise * spread * each(0.0, 0.2)
