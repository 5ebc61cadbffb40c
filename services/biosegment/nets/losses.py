"""Losses over the labelled pixels alone."""

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from biosegment.nets.channels import IGNORE


def segmentation_loss(logits: Tensor, target: Tensor, *, dice_weight: float = 0.5) -> Tensor:
    """(1 - w) x cross entropy + w x soft Dice, both over labelled pixels only.

    Args:
        logits: float32, (N, C, ...).
        target: Channel indices, integer, (N, ...); IGNORE where not labelled.
        dice_weight: w, from 0 to 1.

    Returns:
        A scalar; 0, with gradient 0, when nothing is labelled.
    """
    labelled = target != IGNORE
    loss = (1.0 - dice_weight) * cross_entropy(logits, target, labelled)
    if dice_weight > 0.0:
        loss = loss + dice_weight * dice_loss(logits, target, labelled)
    return loss


def cross_entropy(logits: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
    """Cross entropy averaged over the labelled pixels, in nats."""
    total = F.cross_entropy(logits, target.long(), ignore_index=IGNORE, reduction="sum")
    return total / labelled.sum().clamp(min=1)


def dice_loss(logits: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
    """1 - soft Dice, averaged over the classes that the batch's labels hold.

    Follows Milletari et al. (2016) with plain instead of squared sums; pixels that are not
    labelled count on neither side.
    """
    classes = logits.shape[1]
    mask = labelled.unsqueeze(1)
    probabilities = torch.where(mask, logits.softmax(dim=1), 0.0)
    truth = F.one_hot(torch.where(labelled, target.long(), 0), classes).movedim(-1, 1) * mask
    axes = (0, *range(2, logits.ndim))
    overlap = (probabilities * truth).sum(axes)
    size = probabilities.sum(axes) + truth.sum(axes)
    present = (truth.sum(axes) > 0).to(logits.dtype)
    dice = (2.0 * overlap + 1.0) / (size + 1.0)
    return ((1.0 - dice) * present).sum() / present.sum().clamp(min=1.0)
