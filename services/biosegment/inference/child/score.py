"""What a network thinks of patches: a few scalars each, and an embedding."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from biosegment.client.geometry import ZYX
from biosegment.inference.child.predict import Predictor, is_out_of_memory
from biosegment.nets.dropout import one_draw
from biosegment.nets.padding import reflected


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
    """Scores patches, each by itself: but for neighbours as channels, nothing around it is seen.

    Entropy (nats), least confidence (1 - max p), margin (1 - (p1 - p2)) and the probability of
    each class are means over the voxels, so that a patch's size does not count. So are, with a
    comparison, the entropy of the mean over its forwards and their mutual information.

    Args:
        predictor: The network.
        patches: Raw voxels, (patches, z + 2 x neighbours, y, x); see ``Footprint.neighbours``.
        with_embeddings: Give the mean bottleneck features too, over space and sections.
        comparison: What to compare the network with.
        check: Called between forwards; may raise to stop.

    Raises:
        OutOfMemoryError: Even one patch (one section of it, for a network that looks at
            sections) is too large for the device.
        FailedPreconditionError: Passes with dropout are asked of a network without.
    """
    apart = _apart(predictor, patches)
    padded = prod(_padded(predictor, apart.shape))
    pieces: list[tuple[Tensor, Tensor | None]] = []
    begin = 0
    while begin < len(apart):
        check()
        stop = begin + max(1, predictor.forward_pixels // padded)
        try:
            part = apart[begin:stop]
            pieces.append(_score_apart(predictor, part, with_embeddings, comparison))
            begin = stop
            continue
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Out here, for the error holds on to what the forward held.
        predictor.halve(padded)
    statistics = torch.cat([piece[0] for piece in pieces])
    found = [piece[1] for piece in pieces if piece[1] is not None]
    return Scores(
        statistic_names(predictor.classes, compared=bool(comparison)),
        statistics.double().reshape(len(patches), -1, statistics.shape[1]).mean(dim=1).numpy(),
        torch.cat(found).reshape(len(patches), -1, found[0].shape[1]).mean(dim=1).numpy()
        if found
        else None,
    )


def patches_at_once(predictor: Predictor, shape: ZYX) -> int:
    """Patches of an extent that fill one forward, at least one."""
    return max(1, predictor.forward_pixels // prod(predictor.module.footprint.padded(shape)))


def _apart(predictor: Predictor, patches: NDArray[Any]) -> NDArray[Any]:
    """Patches as the pieces that the network can be shown one by one: sections if it can."""
    footprint = predictor.module.footprint
    if not footprint.sectionwise:
        return patches
    width = 1 + 2 * footprint.neighbours
    windows = sliding_window_view(patches, width, axis=1, writeable=True)
    return np.moveaxis(windows, -1, 2).reshape(-1, windows.shape[-1], *patches.shape[2:])


def _padded(predictor: Predictor, shape: tuple[int, ...]) -> ZYX:
    """The extent that the network predicts for pieces (n, z + 2 x neighbours, y, x)."""
    footprint = predictor.module.footprint
    return footprint.padded((shape[1] - 2 * footprint.neighbours, shape[2], shape[3]))


def statistic_names(classes: tuple[int, ...], *, compared: bool = False) -> tuple[str, ...]:
    """Names of the statistics, in the order of ``Scores.statistics``."""
    plain = ("entropy", "least_confidence", "margin", *(f"p_{value}" for value in classes))
    return (*plain, "bald", "mutual_information") if compared else plain


@torch.inference_mode()
def _score_apart(
    predictor: Predictor, pieces: NDArray[Any], with_embeddings: bool, comparison: Comparison
) -> tuple[Tensor, Tensor | None]:
    around = 2 * predictor.module.footprint.neighbours
    extent = (pieces.shape[1] - around, *pieces.shape[2:])
    padded = _padded(predictor, pieces.shape)
    raw = reflected(pieces, [(0, p - n) for n, p in zip(extent, padded, strict=True)])
    x = predictor.tensor(raw)
    embedding = None
    if with_embeddings:
        logits, embedding = predictor.module.forward_with_embedding(x)
        embedding = embedding.cpu()
    else:
        logits = predictor.logits(x)
    statistics = statistics_of(_inside(logits, extent))
    if comparison:
        forwards = (
            _inside(made, extent) for made in _forwards(predictor, raw, x, logits, comparison)
        )
        statistics = torch.cat((statistics, disagreement(forwards)), dim=1)
    return statistics.cpu(), embedding


def _inside(logits: Tensor, extent: tuple[int, ...]) -> Tensor:
    z, y, x = extent
    return logits[..., :z, :y, :x]


def _forwards(
    predictor: Predictor,
    raw: NDArray[Any],
    x: Tensor,
    logits: Tensor,
    comparison: Comparison,
) -> Iterator[Tensor]:
    """Logits of every forward of a comparison; ``logits`` are those of the network itself."""
    if not comparison.passes:
        yield logits
    for network in (predictor, *comparison.others):
        # Versions that learnt from other data see the same voxels on another scale.
        shown = x if network.grey == predictor.grey else network.tensor(raw)
        if not comparison.passes and network is not predictor:
            yield network.logits(shown)
        for number in range(comparison.passes):
            with one_draw(network.module, comparison.seed, number):
                yield network.module(shown)


def statistics_of(logits: Tensor) -> Tensor:
    """Means over space, in the order of ``statistic_names``.

    Args:
        logits: (N, C, z, y, x), C > 1.

    Returns:
        (N, 3 + C).
    """
    # Flat, and so class by class in memory, for every step below works on one class at a time.
    logarithms = logits.flatten(2).log_softmax(dim=1)
    p = logarithms.exp()
    # The two highest in one sweep; a sort of every pixel would take as long as the network.
    first, second = torch.maximum(p[:, 0], p[:, 1]), torch.minimum(p[:, 0], p[:, 1])
    for channel in range(2, p.shape[1]):
        second = torch.maximum(second, torch.minimum(first, p[:, channel]))
        first = torch.maximum(first, p[:, channel])
    highest, next_highest = first.mean(dim=1), second.mean(dim=1)
    entropies = -(p * logarithms).mean(dim=2).sum(dim=1)
    scalars = torch.stack((entropies, 1.0 - highest, 1.0 - highest + next_highest), dim=1)
    return torch.cat((scalars, p.mean(dim=2)), dim=1)


def disagreement(forwards: Iterable[Tensor]) -> Tensor:
    """Entropy of the mean, and mutual information: that less the mean of the entropies.

    The first is equation 3 put into equation 1 of Rombaut, Roels and Saeys, "BioSegment: Active
    Learning segmentation for 3D electron microscopy imaging"; the second is BALD of Houlsby et
    al. (2011).

    Args:
        forwards: Logits (N, C, z, y, x), at least one; all but a running sum are let go at once.

    Returns:
        Means over space in nats, (N, 2).
    """
    count = 0
    total = apart = torch.zeros(())
    for logits in forwards:
        logarithms = logits.flatten(2).log_softmax(dim=1)
        p = logarithms.exp()
        own = -(p * logarithms).mean(dim=2).sum(dim=1)
        total, apart = (total + p, apart + own) if count else (p, own)
        count += 1
    mean = torch.special.entr(total / count).mean(dim=2).sum(dim=1)
    # Never negative but for rounding.
    return torch.stack((mean, (mean - apart / count).clamp_min(0.0)), dim=1)
