"""What a network thinks of patches: a few scalars each, and an embedding."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biosegment.inference.child import tiles
from biosegment.inference.child.predict import Predictor, is_out_of_memory
from biosegment.nets.dropout import one_draw


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


@dataclass(frozen=True, slots=True)
class Comparison:
    """Forwards whose disagreement says something.

    Attributes:
        others: Networks to compare with, of the same classes.
        passes: Forwards of each network with dropout on; 0 means one without.
        seed: What decides which feature maps a pass leaves out.
    """

    others: tuple[Predictor, ...] = ()
    passes: int = 0
    seed: int = 0

    def __bool__(self) -> bool:
        return bool(self.others) or self.passes > 0


NO_COMPARISON = Comparison()


def score(
    predictor: Predictor,
    patches: NDArray[Any],
    *,
    with_embeddings: bool = False,
    comparison: Comparison = NO_COMPARISON,
    check: Callable[[], None] = lambda: None,
) -> Scores:
    """Scores patches, each by itself: what lies around a patch is not looked at.

    Entropy (nats), least confidence (1 - max p), margin (1 - (p1 - p2)) and the probability of
    each class are means over the voxels, so that a patch's size does not count. So are, with a
    comparison, the entropy of the mean over its forwards and their mutual information.

    Args:
        predictor: The network.
        patches: Raw voxels, (patches, z, y, x).
        with_embeddings: Give the mean bottleneck features too, over space and sections.
        comparison: What to compare the network with.
        check: Called between forwards; may raise to stop.

    Raises:
        OutOfMemoryError: Even one section of one patch is too large for the device.
        FailedPreconditionError: Passes with dropout are asked of a network without.
    """
    count, depth, height, width = patches.shape
    padded = padded_pixels(predictor, height, width)
    sections = patches.reshape(count * depth, height, width)
    pieces: list[tuple[Tensor, Tensor | None]] = []
    begin = 0
    while begin < len(sections):
        check()
        stop = begin + max(1, predictor.forward_pixels // padded)
        try:
            part = sections[begin:stop]
            pieces.append(_score_sections(predictor, part, with_embeddings, comparison))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            predictor.halve(padded)
            continue
        begin = stop
    statistics = torch.cat([piece[0] for piece in pieces])
    found = [piece[1] for piece in pieces if piece[1] is not None]
    return Scores(
        statistic_names(predictor.classes, compared=bool(comparison)),
        statistics.double().reshape(count, depth, -1).mean(dim=1).numpy(),
        torch.cat(found).reshape(count, depth, -1).mean(dim=1).numpy() if found else None,
    )


def padded_pixels(predictor: Predictor, height: int, width: int) -> int:
    """Pixels that the network sees of one section."""
    stride = int(predictor.module.stride)
    return (-(-height // stride) * stride) * (-(-width // stride) * stride)


def statistic_names(classes: tuple[int, ...], *, compared: bool = False) -> tuple[str, ...]:
    """Names of the statistics, in the order of ``Scores.statistics``."""
    plain = ("entropy", "least_confidence", "margin", *(f"p_{value}" for value in classes))
    return (*plain, "bald", "mutual_information") if compared else plain


@torch.inference_mode()
def _score_sections(
    predictor: Predictor,
    sections: NDArray[Any],
    with_embeddings: bool,
    comparison: Comparison,
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
    statistics = statistics_of(logits[:, :, :height, :width])
    if comparison:
        forwards = (
            made[:, :, :height, :width] for made in _forwards(predictor, x, logits, comparison)
        )
        statistics = torch.cat((statistics, disagreement(forwards)), dim=1)
    return statistics.cpu(), embedding


def _forwards(
    predictor: Predictor, x: Tensor, logits: Tensor, comparison: Comparison
) -> Iterator[Tensor]:
    """Logits of every forward of a comparison; ``logits`` are those of the network itself."""
    if not comparison.passes:
        yield logits
        yield from (other.module(x) for other in comparison.others)
        return
    for network in (predictor, *comparison.others):
        for number in range(comparison.passes):
            with one_draw(network.module, comparison.seed, number):
                yield network.module(x)


def statistics_of(logits: Tensor) -> Tensor:
    """Means over space, in the order of ``statistic_names``.

    Args:
        logits: (N, C, H, W), C > 1.

    Returns:
        (N, 3 + C).
    """
    # Class by class in memory, for every step below works on one class at a time.
    logarithms = logits.contiguous().log_softmax(dim=1)
    p = logarithms.exp()
    # The two highest in one sweep; a sort of every pixel would take as long as the network.
    first, second = torch.maximum(p[:, 0], p[:, 1]), torch.minimum(p[:, 0], p[:, 1])
    for channel in range(2, p.shape[1]):
        second = torch.maximum(second, torch.minimum(first, p[:, channel]))
        first = torch.maximum(first, p[:, channel])
    highest, next_highest = first.mean(dim=(1, 2)), second.mean(dim=(1, 2))
    entropies = -(p * logarithms).mean(dim=(2, 3)).sum(dim=1)
    scalars = torch.stack((entropies, 1.0 - highest, 1.0 - highest + next_highest), dim=1)
    return torch.cat((scalars, p.mean(dim=(2, 3))), dim=1)


def disagreement(forwards: Iterable[Tensor]) -> Tensor:
    """Entropy of the mean, and mutual information: that less the mean of the entropies.

    The first is equation 3 put into equation 1 of Rombaut, Roels and Saeys, "BioSegment: Active
    Learning segmentation for 3D electron microscopy imaging"; the second is BALD of Houlsby et
    al. (2011).

    Args:
        forwards: Logits (N, C, H, W), at least one; all but a running sum are let go at once.

    Returns:
        Means over space in nats, (N, 2).
    """
    count = 0
    total = apart = torch.zeros(())
    for logits in forwards:
        logarithms = logits.contiguous().log_softmax(dim=1)
        p = logarithms.exp()
        own = -(p * logarithms).mean(dim=(2, 3)).sum(dim=1)
        total, apart = (total + p, apart + own) if count else (p, own)
        count += 1
    mean = torch.special.entr(total / count).mean(dim=(2, 3)).sum(dim=1)
    # Never negative but for rounding.
    return torch.stack((mean, (mean - apart / count).clamp_min(0.0)), dim=1)
