"""Patches held out of training: which ones, and how well a network does on them."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from biosegment.client.geometry import ZYX
from biosegment.nets.channels import IGNORE, value_table
from biosegment.nets.metrics import Confusion
from biosegment.training.child.samples import Sample, cut

FEWEST = 5
"""With fewer patches none is held out: each would say too little, and cost too much."""
_MOST_CROPS = 512
_NOT_LABELLED = 255

Crop = tuple[NDArray[np.float32], NDArray[np.uint8]]


def split(
    samples: Sequence[Sample], fraction: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Samples to train on, and samples to hold out.

    Whole patches are held out, never a part of one. They are drawn by strata: a patch belongs to
    the rarest of the foreground classes that it holds, or to background. From each stratum of
    two and more at least one is held out and at least one is kept.

    Args:
        samples: In a fixed order.
        fraction: To hold out, more than 0 and at most 0.5.
        seed: Of the draw.

    Returns:
        Both in the given order. None is held out of fewer than FEWEST, nor where no patch with
        foreground could be.
    """
    everything = list(samples)
    if len(samples) < FEWEST:
        return everything, []
    classes = [sorted(set(np.unique(each.channels).tolist()) - {0, IGNORE}) for each in samples]
    counts = Counter(channel for held in classes for channel in held)
    strata: dict[int, list[int]] = {}
    for index, held in enumerate(classes):
        rarest = min(held, key=lambda channel: (counts[channel], channel), default=0)
        strata.setdefault(rarest, []).append(index)
    rng = np.random.default_rng([seed, 3])
    chosen: set[int] = set()
    for _, members in sorted(strata.items()):
        if len(members) > 1:
            count = min(max(1, round(fraction * len(members))), len(members) - 1)
            chosen.update(rng.choice(members, count, replace=False).tolist())
    if not any(classes[index] for index in chosen):
        return everything, []
    kept = [each for index, each in enumerate(samples) if index not in chosen]
    return kept, [samples[index] for index in sorted(chosen)]


def crops(samples: Sequence[Sample], patch: ZYX) -> list[Crop]:
    """Crops that cover the labels of samples.

    Args:
        samples: Those held out.
        patch: Extent of a crop.

    Returns:
        As ``samples.cut`` has them; at most 512, evenly chosen where there were more. Where crops
        overlap, a label is in the first of them alone.
    """
    places = [(each, start) for each in samples for start in _corners(each.channels, patch)]
    if len(places) > _MOST_CROPS:
        step = len(places) / _MOST_CROPS
        places = [places[int(n * step)] for n in range(_MOST_CROPS)]
    seen: dict[int, NDArray[np.uint8]] = {}
    made = []
    for sample, start in places:
        left = seen.setdefault(id(sample), sample.channels.copy())
        raw, labels = cut(Sample(sample.raw, left), start, patch)
        left[tuple(slice(low, low + n) for low, n in zip(start, patch, strict=True))] = IGNORE
        if bool((labels != IGNORE).any()):
            made.append((raw, labels))
    return made


def _corners(channels: NDArray[np.uint8], patch: ZYX) -> list[ZYX]:
    """First voxels of crops over the box of the labels."""
    labelled = channels != IGNORE
    starts = []
    for axis, size in enumerate(patch):
        extent = channels.shape[axis]
        along = np.flatnonzero(labelled.any(axis=tuple(n for n in range(3) if n != axis)))
        low, stop = int(along[0]), int(along[-1]) + 1
        count = -(-(stop - low) // size)
        # In the middle of the labels, so that their rim sees real voxels beyond it.
        first = max(0, low - (count * size - (stop - low)) // 2)
        places = {max(0, min(first + n * size, extent - size)) for n in range(count)}
        starts.append(sorted(places))
    return [(z, y, x) for z in starts[0] for y in starts[1] for x in starts[2]]


def measure(
    guess: Callable[[NDArray[np.float32]], NDArray[np.uint8]],
    held_out: Sequence[Crop],
    classes: Sequence[int],
    batch_size: int,
) -> Confusion:
    """Compares a network with the labels of crops.

    Args:
        guess: Channel indices, uint8 (N, z, y, x), of raw crops as the network takes them.
        held_out: The crops.
        classes: Class values in channel order.
        batch_size: Crops at a time.
    """
    counts = Confusion(classes)
    values = np.full(256, _NOT_LABELLED, np.uint8)
    values[: len(classes)] = value_table(classes)
    for n in range(0, len(held_out), batch_size):
        some = held_out[n : n + batch_size]
        found = guess(np.stack([raw for raw, _ in some]))
        counts.update(values[found], values[np.stack([labels for _, labels in some])])
    return counts
