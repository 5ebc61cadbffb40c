import numpy as np
import pytest
import torch

from biosegment.client.errors import FailedPreconditionError, ResourceExhaustedError
from biosegment.client.geometry import Box
from biosegment.nets.channels import IGNORE
from biosegment.training.child.augment import augment
from biosegment.training.child.log_replay import LabelPatch
from biosegment.training.child.samples import (
    CropSampler,
    Sample,
    collect,
    input_statistics,
    surroundings,
)

SHAPE = (4, 60, 70)


def raw_of(box):
    """Voxels that say where they are: y + 2 x, so that crops can be checked."""
    z, y, x = np.meshgrid(
        *(np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True)), indexing="ij"
    )
    return (y + 2 * x + 0 * z).astype(np.uint8)


def labels_of(box, value):
    return LabelPatch(box, np.full(box.shape, value, np.uint8))


@pytest.mark.parametrize(
    "box", [Box((0, 0, 0), (1, 4, 4)), Box((3, 50, 60), (4, 60, 70)), Box((1, 0, 0), (2, 60, 70))]
)
def test_surroundings_lie_in_the_volume_and_hold_the_labels(box):
    around = surroundings(box, SHAPE, (1, 16, 16))
    around.within(SHAPE, "it")
    assert around.intersection(box) == box
    assert min(around.shape[1:]) >= 16


def test_class_values_become_channels_and_strange_ones_are_ignored():
    mixed = LabelPatch(Box((0, 5, 5), (1, 6, 9)), np.array([[[0, 2, 7, 3]]], np.uint8))
    foreign = labels_of(Box((1, 0, 0), (2, 4, 4)), 3)
    (sample,) = collect(
        [mixed, foreign], read=raw_of, shape=SHAPE, classes=(0, 2, 7), patch=(1, 8, 8)
    )
    assert sample.raw.shape == sample.channels.shape
    assert sorted(sample.channels[sample.channels != IGNORE].tolist()) == [0, 1, 2]
    with pytest.raises(ResourceExhaustedError):
        collect([mixed], read=raw_of, shape=SHAPE, classes=(0, 2), patch=(1, 8, 8), max_bytes=10)


def sampler_of(samples, patch=(1, 16, 16), seed=3):
    return CropSampler(samples, patch=patch, batch_size=8, seed=seed)


def test_every_crop_has_a_label_and_shows_the_voxels_it_labels():
    boxes = [Box((0, 2, 2), (1, 3, 3)), Box((2, 20, 30), (3, 50, 60))]
    samples = collect(
        [labels_of(boxes[0], 1), labels_of(boxes[1], 0)],
        read=raw_of,
        shape=SHAPE,
        classes=(0, 1),
        patch=(1, 16, 16),
    )
    sampler = sampler_of(samples)
    assert sampler.labelled_voxels == 1 + 900
    foreground = 0
    for step in range(10):
        raw, labels = sampler.batch(step)
        assert raw.shape == labels.shape == (8, 1, 16, 16)
        assert raw.dtype == np.float32
        assert bool((labels != IGNORE).any(axis=(1, 2, 3)).all())
        for crop, here in zip(raw, labels, strict=True):
            if (here == 1).any():
                foreground += 1
                assert crop[here == 1] == pytest.approx((2 + 2 * 2) / 255)
    # One voxel of 901 is foreground, and yet a good part of the crops shows it.
    assert foreground > 20


def test_a_step_gets_the_same_batch_whatever_came_before():
    sample = Sample(raw_of(Box.of_shape((1, 40, 40))), np.zeros((1, 40, 40), np.uint8))
    a, b = sampler_of([sample]), sampler_of([sample])
    a.batch(0)
    for one, other in zip(a.batch(5), b.batch(5), strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(a.batch(5)[0], a.batch(6)[0])
    assert not np.array_equal(a.batch(5)[0], sampler_of([sample], seed=4).batch(5)[0])


def test_volumes_smaller_than_a_crop_are_reflected_and_not_labelled_there():
    sample = Sample(raw_of(Box.of_shape((1, 5, 7))), np.zeros((1, 5, 7), np.uint8))
    raw, labels = sampler_of([sample]).batch(0)
    assert raw.shape == (8, 1, 16, 16)
    assert (labels[..., :5, :7] == 0).all()
    assert (labels[..., 5:, :] == IGNORE).all()
    assert (labels[..., 7:] == IGNORE).all()
    assert np.isfinite(raw).all()


def test_nothing_labelled_is_said():
    with pytest.raises(FailedPreconditionError, match="nothing to train on"):
        sampler_of([])


def test_input_statistics_by_hand():
    halves = np.array([[[0, 255]]], np.uint8)
    sample = Sample(halves, np.zeros((1, 1, 2), np.uint8))
    assert input_statistics([sample]) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("sections", [1, 3])
def test_augmentation_keeps_labels_exact_and_on_their_voxels(sections):
    generator = torch.Generator().manual_seed(0)
    labels = torch.full((16, sections, 48, 48), IGNORE, dtype=torch.uint8)
    labels[..., 10:38, 12:30] = 0
    labels[..., 18:30, 16:26] = 2
    raw = torch.where(labels == 2, 0.9, 0.1)
    moved_raw, moved = augment(raw, labels, generator)
    assert moved.dtype == torch.uint8
    assert set(moved.unique().tolist()) == {0, 2, IGNORE}
    assert moved_raw.shape == raw.shape
    assert bool(torch.isfinite(moved_raw).all())
    assert not torch.equal(moved, labels)
    for image, here in zip(moved_raw, moved, strict=True):
        # Brightness changes, but what is labelled 2 stays the bright part.
        assert float(image[here == 2].mean() - image[here == 0].mean()) > 0.3


def test_augmentation_is_drawn_from_its_generator_alone():
    raw = torch.rand(3, 5, 32, 32)
    labels = torch.zeros(3, 1, 32, 32, dtype=torch.uint8)
    first = augment(raw, labels, torch.Generator().manual_seed(1))
    torch.rand(7)
    second = augment(raw, labels, torch.Generator().manual_seed(1))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_augmentation_bears_a_flat_oblong_crop():
    raw = torch.full((2, 3, 16, 40), 0.5)
    moved, labels = augment(
        raw, torch.ones(2, 1, 16, 40, dtype=torch.uint8), torch.Generator().manual_seed(0)
    )
    assert moved.shape == (2, 3, 16, 40)
    assert labels.shape == (2, 1, 16, 40)
    assert bool(torch.isfinite(moved).all())


def test_sections_of_a_crop_move_together():
    """Three copies of a section, under labels of its middle one, stay copies but for noise."""
    torch.manual_seed(0)
    section = torch.nn.functional.interpolate(torch.rand(12, 1, 6, 6), size=48, mode="bicubic")
    labels = (section > 0.5).to(torch.uint8)
    raw, moved = augment(section.repeat(1, 3, 1, 1), labels, torch.Generator().manual_seed(2))
    for crop, here in zip(raw, moved, strict=True):
        below, middle, above = crop
        assert float(torch.corrcoef(torch.stack((below.ravel(), above.ravel())))[0, 1]) > 0.9
        seen = here[0] != IGNORE
        assert (
            float(middle[seen & (here[0] == 1)].mean() - middle[seen & (here[0] == 0)].mean()) > 0
        )


def deep_raw(box):
    """Voxels that say their section: 10 z."""
    z = np.arange(box.start[0], box.stop[0])[:, None, None]
    return np.broadcast_to(10 * z, box.shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("section", "around"), [(2, [0, 10, 20, 30, 40]), (0, [20, 10, 0, 10, 20])]
)
def test_a_labelled_section_comes_with_its_real_neighbours(section, around):
    shape = (9, 40, 40)
    (sample,) = collect(
        [labels_of(Box((section, 5, 5), (section + 1, 20, 20)), 1)],
        read=deep_raw,
        shape=shape,
        classes=(0, 1),
        patch=(1, 16, 16),
        neighbours=2,
    )
    assert sample.channels.shape[0] == 1
    raw, labels = sampler_of([sample]).batch(0)
    assert raw.shape == (8, 5, 16, 16)
    assert labels.shape == (8, 1, 16, 16)
    for crop in raw:
        assert crop[:, 0, 0] * 255 == pytest.approx(around)


def test_crops_of_volumes_show_real_voxels_above_and_below_one_labelled_section():
    (sample,) = collect(
        [labels_of(Box((4, 5, 5), (5, 20, 20)), 1)],
        read=deep_raw,
        shape=(9, 40, 40),
        classes=(0, 1),
        patch=(4, 16, 16),
    )
    assert sample.raw.shape == sample.channels.shape
    assert sample.raw.shape[0] >= 4
    raw, labels = sampler_of([sample], patch=(4, 16, 16)).batch(0)
    assert raw.shape == labels.shape == (8, 4, 16, 16)
    for crop, here in zip(raw, labels, strict=True):
        sections = np.round(crop[:, 0, 0] * 25.5).astype(int)
        assert sections.tolist() == list(range(sections[0], sections[0] + 4))
        # The one labelled section, and no other.
        assert set(sections[(here != IGNORE).any(axis=(1, 2))]) == {4}


def test_volumes_thinner_than_a_crop_are_reflected_along_z_too():
    sample = Sample(raw_of(Box.of_shape((2, 20, 20))), np.zeros((2, 20, 20), np.uint8))
    raw, labels = sampler_of([sample], patch=(4, 16, 16)).batch(0)
    assert raw.shape == (8, 4, 16, 16)
    assert (labels[:, :2] == 0).all()
    assert (labels[:, 2:] == IGNORE).all()


def test_augmentation_turns_volumes_over_with_their_labels():
    raw = torch.zeros(32, 4, 16, 16)
    labels = torch.zeros(32, 4, 16, 16, dtype=torch.uint8)
    raw[:, 0], labels[:, 0] = 1.0, 1
    moved_raw, moved = augment(raw, labels, torch.Generator().manual_seed(3))
    ends = set()
    for crop, here in zip(moved_raw, moved, strict=True):
        bright = int(crop.mean(dim=(1, 2)).argmax())
        assert here[bright].eq(1).logical_or(here[bright] == IGNORE).all()
        ends.add(bright)
    assert ends == {0, 3}
