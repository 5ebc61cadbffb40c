"""Annotated patches with their raw voxels, and batches of crops drawn from them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.errors import FailedPreconditionError, ResourceExhaustedError
from biosegment.client.geometry import ZYX, Box
from biosegment.nets.channels import IGNORE, to_channels
from biosegment.nets.intensity import unit_scale
from biosegment.nets.padding import read_with_neighbours, reflected
from biosegment.runtime.grey import constant
from biosegment.training.child.log_replay import LabelPatch

MAX_BYTES = 4 << 30
"""Raw voxels and labels held at a time."""
_PLACES = 4096
# A tenth of the crops go round the classes, so that rare ones are seen; the others follow the
# labels, or the network would expect more of the rare classes than there is.
_BALANCED = 0.1


@dataclass(frozen=True, slots=True)
class Sample:
    """An annotated patch with its surroundings.

    Attributes:
        raw: Raw voxels, axes ZYX, with as many more sections at either end as the network takes
            for neighbours.
        channels: Channel indices, uint8, axes ZYX; IGNORE where not labelled.
    """

    raw: NDArray[Any]
    channels: NDArray[np.uint8]

    @property
    def labelled(self) -> int:
        """Voxels with a label."""
        return int(np.count_nonzero(self.channels != IGNORE))


def labelled_voxels(samples: Sequence[Sample], classes: Sequence[int]) -> dict[int, int]:
    """Labelled voxels by class value, of every class of the model; ``classes`` by channel."""
    return {
        value: sum(int(np.count_nonzero(sample.channels == channel)) for sample in samples)
        for channel, value in enumerate(classes)
    }


def surroundings(box: Box, shape: ZYX, patch: ZYX) -> Box:
    """A labelled box grown, so that crops see real voxels around labels near its rim.

    It grows by a quarter of a crop on each side, and to at least one crop where the volume
    allows; crops of a single section leave z as it is.

    Args:
        box: The labelled voxels.
        shape: Extent of the volume.
        patch: Extent of a crop.
    """
    start, stop = list(box.start), list(box.stop)
    for axis in range(3):
        size = min(shape[axis], max(box.shape[axis] + patch[axis] // 2, patch[axis]))
        middle = (box.start[axis] + box.stop[axis]) // 2
        start[axis] = min(max(0, middle - size // 2), shape[axis] - size)
        stop[axis] = start[axis] + size
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def collect(
    patches: Iterable[LabelPatch],
    *,
    read: Callable[[Box], NDArray[Any]],
    shape: ZYX,
    classes: Sequence[int],
    patch: ZYX,
    neighbours: int = 0,
    check: Callable[[], None] = lambda: None,
    max_bytes: int = MAX_BYTES,
    padding: Callable[[Box], NDArray[np.bool_] | None] = lambda _box: None,
) -> list[Sample]:
    """Reads the raw voxels of patches and maps their class values to channels.

    Args:
        patches: Labels; values that are not in ``classes`` are ignored.
        read: Reads raw voxels of a box.
        shape: Extent of the volume.
        classes: Class values in channel order.
        patch: Extent of a crop.
        neighbours: Sections on either side that the network takes with each.
        check: Called between reads; may raise to stop.
        max_bytes: Most bytes to hold.
        padding: Tells which voxels of a box are padding; labels of those teach nothing.

    Returns:
        Those patches that label at least one voxel with one of the classes.

    Raises:
        ResourceExhaustedError: They need more than max_bytes.
    """
    samples: list[Sample] = []
    held = 0
    for labels in patches:
        check()
        channels = to_channels(labels.values, classes)
        gone = padding(labels.box)
        if gone is not None:
            channels[gone] = IGNORE
        if bool((channels == IGNORE).all()):
            continue
        around = surroundings(labels.box, shape, patch)
        raw = read_with_neighbours(read, around, neighbours, Box.of_shape(shape))
        wide = np.full(around.shape, IGNORE, np.uint8)
        wide[labels.box.relative_to(around.start).slices] = channels
        held += raw.nbytes + wide.nbytes
        if held > max_bytes:
            raise ResourceExhaustedError(
                f"The annotated patches need over {max_bytes >> 20} MiB, more than one training "
                "run keeps in memory. Train on an earlier revision, or annotate smaller boxes."
            )
        samples.append(Sample(raw, wide))
    return samples


def input_statistics(samples: Sequence[Sample]) -> tuple[float, float]:
    """Mean and standard deviation of the raw voxels on the unit scale, each sample alike."""
    return raw_statistics([sample.raw for sample in samples])


def raw_statistics(raws: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Mean and standard deviation of raw voxels on the unit scale, each array alike.

    Padding is left out, and arrays that are nothing else, unless all are.

    Args:
        raws: Axes (…, y, x).
    """
    pictures = [_picture(raw) for raw in raws]
    scaled = [unit_scale(raw) for raw in pictures if raw.size] or [unit_scale(raw) for raw in raws]
    mean = float(np.mean([raw.mean(dtype=np.float64) for raw in scaled]))
    square = float(np.mean([np.square(raw).mean(dtype=np.float64) for raw in scaled]))
    return mean, float(np.sqrt(max(0.0, square - mean * mean)))


def _picture(raw: NDArray[Any]) -> NDArray[Any]:
    """The voxels that are no padding; the array itself where it has none."""
    sections = raw.reshape(-1, *raw.shape[-2:])
    gone = np.stack([constant(section) for section in sections])
    return sections[~gone] if gone.any() else raw


class CropSampler:
    """Draws batches of crops; what a step gets depends on seed and step alone.

    Attributes:
        labelled_voxels: Labelled voxels of all samples together.
    """

    def __init__(
        self, samples: Sequence[Sample], *, patch: ZYX, batch_size: int, seed: int
    ) -> None:
        if not samples:
            raise FailedPreconditionError("There is nothing to train on: no voxel is labelled.")
        self._samples = samples
        self._patch = patch
        self._batch_size = batch_size
        self._seed = seed
        self.labelled_voxels = 0
        # Per class: (sample, places in it), places being at most _PLACES flat positions.
        self._by_class: dict[int, list[tuple[int, NDArray[np.int64]]]] = {}
        self._by_sample: list[NDArray[np.int64]] = []
        rng = np.random.default_rng([seed, 0])
        for n, sample in enumerate(samples):
            flat = sample.channels.reshape(-1)
            places = np.flatnonzero(flat != IGNORE)
            self.labelled_voxels += int(places.size)
            self._by_sample.append(_some(places, rng))
            for channel in np.unique(flat[places]).tolist():
                here = _some(np.flatnonzero(flat == channel), rng)
                self._by_class.setdefault(channel, []).append((n, here))

    def batch(self, step: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """The crops of a step.

        Args:
            step: Counted from 0.

        Returns:
            Raw on the unit scale, float32, (batch, z + 2 x neighbours, y, x), and channel
            indices, uint8, (batch, z, y, x).
        """
        rng = np.random.default_rng([self._seed, 1, step])
        crops = [self._crop(rng) for _ in range(self._batch_size)]
        return np.stack([raw for raw, _ in crops]), np.stack([labels for _, labels in crops])

    def _crop(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        if rng.random() < _BALANCED:
            holders = self._by_class[int(rng.choice(sorted(self._by_class)))]
            index, places = holders[rng.integers(len(holders))]
        else:
            index = int(rng.integers(len(self._samples)))
            places = self._by_sample[index]
        sample = self._samples[index]
        place = np.unravel_index(places[rng.integers(len(places))], sample.channels.shape)
        start = []
        for at, extent, size in zip(place, sample.channels.shape, self._patch, strict=True):
            low = max(0, int(at) - size + 1)
            high = max(low, min(int(at), extent - size))
            start.append(int(rng.integers(low, high + 1)))
        return cut(sample, (start[0], start[1], start[2]), self._patch)


def cut(sample: Sample, start: ZYX, patch: ZYX) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """A crop of a sample; beyond the sample's rim raw is mirrored, and nothing is labelled.

    Args:
        sample: The sample.
        start: The crop's first voxel, (z, y, x).
        patch: Its extent.

    Returns:
        Raw on the unit scale, float32, (z + 2 x neighbours, y, x), and channel indices, uint8,
        (z, y, x).
    """
    window = tuple(slice(low, low + size) for low, size in zip(start, patch, strict=True))
    labels = sample.channels[window]
    around = sample.raw.shape[0] - sample.channels.shape[0]
    sections = slice(start[0], start[0] + patch[0] + around)
    raw = unit_scale(sample.raw[(sections, *window[1:])])
    missing = [(0, size - n) for size, n in zip(patch, labels.shape, strict=True)]
    return reflected(raw, missing), np.pad(labels, missing, constant_values=IGNORE)


def _some(places: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.int64]:
    if places.size > _PLACES:
        places = np.sort(rng.choice(places, _PLACES, replace=False))
    return places.astype(np.int64)
