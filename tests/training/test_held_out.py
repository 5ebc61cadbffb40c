import numpy as np
import pytest

from biosegment.training.child.held_out import crops, measure, split
from biosegment.training.child.samples import Sample

PATCH = (1, 8, 8)


def patch_of(*channels, shape=(1, 8, 8)):
    """A sample in which each of the channels occurs."""
    labels = np.zeros(shape, np.uint8)
    labels.reshape(-1)[: len(channels)] = channels
    return Sample(np.zeros(shape, np.uint8), labels)


def identities(chosen):
    return {id(each) for each in chosen}


def test_whole_patches_are_held_out_and_nothing_is_lost():
    samples = [patch_of(1) for _ in range(6)] + [patch_of() for _ in range(4)]
    kept, held = split(samples, 0.2, seed=1)
    assert len(held) == 2
    assert identities(kept) | identities(held) == identities(samples)
    assert not identities(kept) & identities(held)
    # One of each stratum.
    assert sorted(int(each.channels.max()) for each in held) == [0, 1]


def test_the_seed_decides_which():
    samples = [patch_of(1) for _ in range(20)]
    once, again, other = (identities(split(samples, 0.2, seed)[1]) for seed in (1, 1, 2))
    assert once == again != other


def test_a_rare_class_is_in_both_parts():
    samples = [patch_of(1) for _ in range(18)] + [patch_of(1, 2) for _ in range(2)]
    kept, held = split(samples, 0.1, seed=5)
    assert sum((each.channels == 2).any() for each in held) == 1
    assert sum((each.channels == 2).any() for each in kept) == 1


def test_a_class_that_is_in_one_patch_alone_is_trained_on():
    samples = [patch_of(1) for _ in range(8)] + [patch_of(2)]
    kept, _ = split(samples, 0.5, seed=5)
    assert any((each.channels == 2).any() for each in kept)


@pytest.mark.parametrize(
    "samples",
    [
        [patch_of(1) for _ in range(4)],
        [patch_of(1)] + [patch_of() for _ in range(9)],
        [patch_of() for _ in range(9)],
    ],
    ids=["few", "one with foreground", "no foreground"],
)
def test_nothing_is_held_out_where_it_would_say_too_little(samples):
    assert split(samples, 0.3, seed=1) == (samples, [])


def test_crops_cover_every_label_once():
    rng = np.random.default_rng(0)
    labels = np.full((2, 30, 21), 255, np.uint8)
    labels[0, 3:29, 2:20] = rng.integers(0, 3, (26, 18))
    labels[1, 10:12, 10:12] = 1
    sample = Sample(np.zeros(labels.shape, np.uint8), labels)
    found = crops([sample], PATCH)
    assert all(raw.shape == given.shape == (1, 8, 8) for raw, given in found)
    for channel in range(3):
        assert sum(int((given == channel).sum()) for _, given in found) == (labels == channel).sum()
    assert labels[1, 10, 10] == 1


def test_crops_of_volumes_and_with_neighbours():
    labels = np.full((6, 12, 12), 255, np.uint8)
    labels[1:5, 2:10, 2:10] = 1
    raw = np.arange(10, dtype=np.uint8)[:, None, None] * np.ones((1, 12, 12), np.uint8)
    found = crops([Sample(raw, labels)], (4, 8, 8))
    assert len(found) == 1
    seen, given = found[0]
    assert (given == 1).all()
    # Two more sections at either end, those of the volume.
    assert (seen[:, 0, 0] * 255).round().tolist() == list(range(1, 9))


def test_a_small_label_sees_its_surroundings():
    labels = np.full((1, 24, 24), 255, np.uint8)
    labels[0, 10:14, 10:14] = 1
    ((_, given),) = crops([Sample(np.zeros(labels.shape, np.uint8), labels)], PATCH)
    assert (given[0, 2:6, 2:6] == 1).all()


def test_the_measure_is_the_iou_over_labelled_voxels():
    given = np.full((1, 8, 8), 255, np.uint8)
    given[0, 0, :4] = 1
    given[0, 1, :4] = 0
    raw = np.zeros((1, 8, 8), np.float32)

    def guess(batch):
        found = np.ones(batch.shape, np.uint8)
        found[:, 0, 0, 0] = 0
        return found

    counts = measure(guess, [(raw, given)] * 3, (0, 7), batch_size=2)
    # Of four voxels of the class three are found, with four others that are not.
    assert counts.figures()["iou_7"] == pytest.approx(3 / 8)
    assert counts.voxels == 24
