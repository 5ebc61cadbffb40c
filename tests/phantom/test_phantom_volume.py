"""The phantom: the same voxel whatever box it is asked in, and something to be learnt in it."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from biosegment.client.errors import InvalidArgumentError, OutsideVolumeError
from biosegment.client.geometry import Box
from biosegment.phantom import Generator, generate


@pytest.fixture(scope="module")
def phantom():
    return generate((12, 256, 320), seed=0)


@pytest.mark.parametrize("voxel_size", [(40.0, 8.0, 8.0), (5.0, 5.0, 5.0)])
def test_a_box_reads_the_same_as_that_box_of_the_whole(voxel_size):
    generator = Generator((7, 150, 530), voxel_size, seed=3)
    whole = generator.box(Box.of_shape(generator.shape))
    box = Box((2, 37, 501), (7, 101, 529))
    part = generator.box(box)
    for name in ("raw", "labels", "instances", "membranes"):
        assert np.array_equal(getattr(part, name), getattr(whole, name)[box.slices]), name


def test_slabs_cover_the_whole_once_and_in_order():
    generator = Generator((5, 96, 96), seed=1)
    whole = generator.box(Box.of_shape(generator.shape))
    parts = list(generator.slabs(2))
    assert [box.start[0] for box, _ in parts] == [0, 2, 4]
    assert np.array_equal(np.concatenate([part.raw for _, part in parts]), whole.raw)


def test_a_corner_of_a_volume_too_large_to_exist_can_be_made():
    generator = Generator((20_000, 100_000, 100_000), (5.0, 5.0, 5.0), seed=2)
    part = generator.box(Box.at((19_990, 99_900, 99_900), (4, 100, 100)))
    assert part.raw.std() > 10


def test_the_seed_decides(phantom):
    assert np.array_equal(generate((12, 256, 320), seed=0).raw, phantom.raw)
    assert not np.array_equal(generate((12, 256, 320), seed=1).labels, phantom.labels)


def test_types_and_values(phantom):
    assert phantom.raw.dtype == phantom.labels.dtype == phantom.membranes.dtype == np.uint8
    assert phantom.instances.dtype == np.uint32
    assert set(np.unique(phantom.labels)) == {0, 1}
    assert np.array_equal(phantom.instances > 0, phantom.labels > 0)
    assert not (phantom.labels & phantom.membranes).any()


def test_mitochondria_take_a_few_percent_of_the_tissue():
    fractions = [generate((6, 512, 512), seed=seed).labels.mean() for seed in range(3)]
    assert 0.04 < np.mean(fractions) < 0.10


def test_instances_are_separate_bodies(phantom):
    for number in np.unique(phantom.instances)[1:]:
        mask = phantom.instances == number
        sizes = np.bincount(ndimage.label(mask, np.ones((3, 3, 3)))[0].ravel())[1:]
        assert sizes.max() > 0.9 * sizes.sum()


def test_structures_have_the_contrast_of_stained_tissue(phantom):
    inside, wall = phantom.labels > 0, phantom.membranes > 0
    rest = ~inside & ~wall
    assert phantom.raw[wall].mean() < phantom.raw[inside].mean() < phantom.raw[rest].mean() - 20
    # Grey alone does not tell: dark things outside mitochondria abound.
    threshold = np.percentile(phantom.raw[inside], 75)
    dark = phantom.raw <= threshold
    assert (dark & inside).sum() / dark.sum() < 0.6


def test_thick_sections_change_more_from_one_to_the_next():
    def correlation(voxel_size):
        raw = ndimage.gaussian_filter(
            generate((6, 192, 192), voxel_size, seed=4).raw.astype(float), (0, 1, 1)
        )
        return np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairwise(raw)])

    assert correlation((45.0, 5.0, 5.0)) < correlation((5.0, 5.0, 5.0)) - 0.2


@pytest.mark.parametrize(
    ("shape", "voxel_size", "word"),
    [
        ((0, 10, 10), (40.0, 8.0, 8.0), "three positive extents"),
        ((10, 10), (40.0, 8.0, 8.0), "three positive extents"),
        ((4, 10, 10), (40.0, 0.0, 8.0), "between 0.5 and 200"),
        ((4, 10, 10), (40.0, float("nan"), 8.0), "between 0.5 and 200"),
    ],
)
def test_senseless_numbers_are_refused(shape, voxel_size, word):
    with pytest.raises(InvalidArgumentError, match=word):
        Generator(shape, voxel_size)


def test_a_box_outside_is_refused():
    with pytest.raises(OutsideVolumeError):
        Generator((4, 64, 64)).box(Box((0, 0, 0), (5, 64, 64)))
