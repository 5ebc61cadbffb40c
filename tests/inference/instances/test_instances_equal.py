"""Blocked instances equal those of the whole volume, up to renumbering."""

import cc3d
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tests.inference.instances.blocked import recipe, run


def same_up_to_numbers(a, b):
    pairs = np.unique(np.stack([a.reshape(-1), b.reshape(-1)]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[
        1
    ] and np.array_equal(a > 0, b > 0)


def reference(values, connectivity, min_voxels=1, final=None):
    """The rules, applied to the whole volume at once.

    With the result to judge, holes are filled; between instances with equally many faces its ids
    decide.
    """
    labels = cc3d.connected_components(values, connectivity=connectivity).astype(np.int64)
    sizes = np.bincount(labels.reshape(-1))
    small = sizes < min_voxels
    small[0] = False
    labels[small[labels]] = 0
    if final is None:
        return labels
    voids, count = ndimage.label(labels == 0)
    filled = labels.copy()
    for n in range(1, count + 1):
        places = np.argwhere(voids == n)
        ends = [
            k > 1 and (places[:, axis].min() == 0 or places[:, axis].max() == k - 1)
            for axis, k in enumerate(values.shape)
        ]
        if any(ends) or (voids == n).all():
            continue
        faces = {}
        for place in places:
            for axis in range(3):
                for step in (-1, 1):
                    other = place.copy()
                    other[axis] += step
                    if 0 <= other[axis] < values.shape[axis] and labels[tuple(other)]:
                        found = labels[tuple(other)]
                        faces[found] = faces.get(found, 0) + 1
        most = max(faces.values())
        best = [found for found in faces if faces[found] == most]
        filled[voids == n] = min(best, key=lambda found: final[labels == found][0])
    return filled


def noise(shape, seed, classes=1, share=0.4, smooth=0.0):
    draw = np.random.default_rng(seed)
    field = draw.standard_normal(shape)
    if smooth:
        field = ndimage.gaussian_filter(field, smooth)
    values = (field > np.quantile(field, 1 - share)).astype(np.uint8)
    return values * draw.integers(1, classes + 1, shape).astype(np.uint8) if classes > 1 else values


SHAPES = [
    ((7, 31, 29), (3, 8, 11)),
    ((1, 37, 41), (1, 16, 16)),
    ((13, 1, 17), (4, 1, 5)),
    ((5, 6, 7), (16, 16, 16)),
    ((4, 4, 4), (1, 1, 1)),
    ((1, 1, 1), (1, 1, 1)),
]


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize(("shape", "block"), SHAPES)
@pytest.mark.parametrize("classes", [1, 3])
def test_components_equal_those_of_the_whole(shape, block, connectivity, classes):
    for seed, share in enumerate((0.15, 0.3, 0.6)):
        values = noise(shape, seed, classes, share)
        final, merged, _ = run(values, recipe(values, block, connectivity=connectivity), seed)
        assert same_up_to_numbers(final, reference(values, connectivity))
        assert len(merged.classes) == final.max()
        inside = final > 0
        assert np.array_equal(merged.classes[final[inside] - 1], values[inside])


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(1, 12)] * 3),
    st.tuples(*[st.integers(1, 7)] * 3),
    st.integers(0, 2**31),
    st.sampled_from([6, 18, 26]),
    st.integers(1, 12),
    st.floats(0.3, 0.9),
    st.integers(1, 2),
)
# More ids around a block than it has voxels.
@example((2, 3, 7), (2, 1, 1), 0, 6, 1, 0.5, 1)
def test_holes_and_sizes_equal_those_of_the_whole(
    shape, block, seed, connectivity, least, share, classes
):
    values = noise(shape, seed, classes, share)
    how = recipe(values, block, connectivity=connectivity, min_voxels=least, fill_holes=True)
    final, merged, _ = run(values, how, seed)
    assert same_up_to_numbers(final, reference(values, connectivity, least, final))
    plain = cc3d.connected_components(values, connectivity=connectivity)
    small = np.count_nonzero(np.bincount(plain.reshape(-1))[1:] < least)
    assert merged.dropped == small


def test_filling_holes_fills_what_scipy_fills():
    values = noise((20, 33, 31), 3, share=0.62, smooth=1.2)
    final, _, _ = run(values, recipe(values, (7, 9, 8), fill_holes=True))
    expected = ndimage.binary_fill_holes(values)
    assert expected.sum() > values.sum()
    assert np.array_equal(final > 0, expected)


def test_a_snake_through_every_block_is_one_instance():
    values = np.zeros((9, 40, 40), np.uint8)
    for row in range(0, 40, 4):
        values[4, row] = 1
        values[4, row : row + 5, (0 if row % 8 else 39)] = 1
    assert cc3d.connected_components(values, connectivity=6).max() == 1
    final, _, sums = run(values, recipe(values, (2, 5, 5), connectivity=6))
    assert final.max() == 1
    assert sums.voxels.tolist() == [values.sum()]


def test_an_empty_volume_has_no_instances_and_a_full_one_has_one():
    for value, expected in ((0, 0), (1, 1)):
        values = np.full((6, 9, 9), value, np.uint8)
        for fill in (False, True):
            final, merged, sums = run(values, recipe(values, (3, 4, 5), fill_holes=fill))
            assert np.array_equal(final, values)
            assert len(merged.classes) == len(sums.ids) == expected


def test_only_the_classes_asked_for_are_looked_at():
    values = noise((5, 20, 20), 1, classes=4)
    final, merged, _ = run(values, recipe(values, (5, 8, 8), classes=(2, 4)))
    chosen = np.where(np.isin(values, (2, 4)), values, 0).astype(np.uint8)
    assert same_up_to_numbers(final, reference(chosen, 26))
    assert set(merged.classes.tolist()) == {2, 4}


def test_numbers_do_not_depend_on_the_order_of_the_work():
    values = noise((8, 24, 24), 5, classes=2)
    how = recipe(values, (3, 7, 7), fill_holes=True, min_voxels=3)
    first, again = run(values, how, seed=1), run(values, how, seed=2)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[2].crossings, again[2].crossings)
