"""What a network thinks of patches: a few scalars each, and an embedding."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biosegment.inference.child import tiles
from biosegment.inference.child.predict import (
    Predictor,
    entropy,
    is_out_of_memory,
)


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of some patches.

    Attributes:
        names: Of the statistics.
        statistics: float64, (patches, statistics): means over each patch's voxels.
        embeddings: float32, (patches, embedding size), or None.
    """

    names: tuple[str, ...]
    statistics: NDArray[np.float64]
    embeddings: NDArray[np.float32] | None


def score(
    predictor: Predictor,
    patches: NDArray[Any],
    *,
    with_embeddings: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Scores:
    """Scores patches, each by itself: what lies around a patch is not looked at.

    Entropy (nats), least confidence (1 - max p), margin (1 - (p1 - p2)) and the probability of
    each class are means over the voxels, so that a patch's size does not count.

    Args:
        predictor: The network.
        patches: Raw voxels, (patches, z, y, x).
        with_embeddings: Give the mean bottleneck features too, over space and sections.
        check: Called between forwards; may raise to stop.

    Raises:
        OutOfMemoryError: Even one section of one patch is too large for the device.
    """
    count, depth, height, width = patches.shape
    stride = predictor.module.stride
    padded = (-(-height // stride) * stride) * (-(-width // stride) * stride)
    sections = patches.reshape(count * depth, height, width)
    pieces: list[tuple[Tensor, Tensor | None]] = []
    begin = 0
    while begin < len(sections):
        check()
        stop = begin + max(1, predictor.forward_pixels // padded)
        try:
            pieces.append(_score_sections(predictor, sections[begin:stop], with_embeddings))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            predictor.halve(padded)
            continue
        begin = stop
    statistics = torch.cat([piece[0] for piece in pieces])
    found = [piece[1] for piece in pieces if piece[1] is not None]
    return Scores(
        statistic_names(predictor.classes),
        statistics.double().reshape(count, depth, -1).mean(dim=1).numpy(),
        torch.cat(found).reshape(count, depth, -1).mean(dim=1).numpy() if found else None,
    )


def statistic_names(classes: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the statistics, in the order of ``Scores.statistics``."""
    return ("entropy", "least_confidence", "margin", *(f"p_{value}" for value in classes))


@torch.inference_mode()
def _score_sections(
    predictor: Predictor, sections: NDArray[Any], with_embeddings: bool
) -> tuple[Tensor, Tensor | None]:
    _, height, width = sections.shape
    stride = predictor.module.stride
    x = predictor.tensor(tiles.pad_far(sections, (-height % stride, -width % stride)))
    embedding = None
    if with_embeddings:
        logits, embedding = predictor.module.forward_with_embedding(x)
        embedding = embedding.cpu()
    else:
        logits = predictor.module(x)
    return statistics_of(logits[:, :, :height, :width]).cpu(), embedding


def statistics_of(logits: Tensor) -> Tensor:
    """Means over space, in the order of ``statistic_names``.

    Args:
        logits: (N, C, H, W).

    Returns:
        (N, 3 + C).
    """
    probabilities = logits.softmax(dim=1)
    top = probabilities.topk(2, dim=1).values
    maps = torch.cat(
        (
            entropy(logits).unsqueeze(1),
            1.0 - top[:, :1],
            1.0 - (top[:, :1] - top[:, 1:]),
            probabilities,
        ),
        dim=1,
    )
    return maps.mean(dim=(2, 3))
