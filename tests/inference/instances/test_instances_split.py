"""Touching instances are cut at their necks, alike in every block."""

import numpy as np
import pytest
from scipy import ndimage

from tests.inference.instances.blocked import recipe, run
from tests.inference.instances.test_instances_equal import noise


def chain(balls=5, radius=8, step=14, shape=(24, 24, 90)):
    """Balls in a row, each overlapping the next."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    values = np.zeros(shape, np.uint8)
    for n in range(balls):
        values |= (z - 12) ** 2 + (y - 12) ** 2 + (x - 12 - step * n) ** 2 <= radius**2
    return values


@pytest.mark.parametrize("block", [(24, 24, 90), (24, 24, 7), (5, 6, 13), (8, 24, 31)])
def test_a_chain_of_balls_is_cut_into_balls(block):
    values = chain()
    assert ndimage.label(values)[1] == 1
    final, merged, sums = run(values, recipe(values, block, split_nm=12.0))
    assert np.array_equal(final > 0, values > 0)
    assert len(merged.classes) == 5
    nearest = np.rint((np.arange(90) - 12) / 14).clip(0, 4).astype(int)
    for n in range(5):
        held = np.bincount(final[..., nearest == n].reshape(-1), minlength=6)[1:]
        assert held.max() / held.sum() > 0.97, "a ball is one instance, but for its necks"
    assert sums.voxels.sum() == values.sum()


def test_what_has_no_core_stays_whole_and_what_hangs_on_one_goes_with_it():
    values = np.zeros((9, 9, 120), np.uint8)
    values[4, 4, 2:118] = 1  # a wire, too thin for a core
    values[2:7, 2:7, 60:67] = 1
    values[0, 0, 10:100] = 1  # another that touches nothing
    final, merged, _ = run(values, recipe(values, (4, 5, 11), split_nm=4.0))
    assert np.array_equal(final > 0, values > 0)
    assert len(merged.classes) == 2
    assert len(np.unique(final[4, 4, 2:118])) == 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("voxel_size", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0)])
def test_as_many_instances_as_in_the_whole_and_nearly_the_same(seed, voxel_size):
    values = noise((24, 60, 60), seed, share=0.35, smooth=3.0)
    values[values > 0] = 1 + (np.indices(values.shape)[1] > 30)[values > 0]
    more = {"voxel_size": voxel_size, "split_nm": 7.0}
    whole, one, _ = run(values, recipe(values, values.shape, **more))
    final, merged, _ = run(values, recipe(values, (7, 19, 23), **more), seed)
    assert np.array_equal(final > 0, whole > 0)
    assert len(merged.classes) == len(one.classes) > ndimage.label(values)[1]
    inside = values > 0
    assert np.array_equal(merged.classes[final[inside] - 1], values[inside])
    pairs, counts = np.unique(np.stack([whole[inside], final[inside]]), axis=1, return_counts=True)
    best = np.zeros(whole.max() + 1, int)
    np.maximum.at(best, pairs[0], counts)
    assert best.sum() / inside.sum() > 0.98
