import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biosegment.client.errors import ResourceExhaustedError
from biosegment.client.geometry import Box
from biosegment.training.child.log_replay import replay

SHAPE = (3, 8, 8)


def painted(commits):
    """What the label volume shows: every commit in order, on the whole volume."""
    view = np.full(SHAPE, 255, np.uint8)
    for box, mask in commits:
        part = view[box.slices]
        part[mask != 255] = mask[mask != 255]
        part[part == 254] = 255
    return view


@st.composite
def commit(draw):
    start = [draw(st.integers(0, n - 1)) for n in SHAPE]
    stop = [draw(st.integers(a + 1, n)) for a, n in zip(start, SHAPE, strict=True)]
    box = Box(tuple(start), tuple(stop))
    seed = draw(st.integers(0, 1 << 16))
    values = np.array([0, 2, 7, 254, 255, 255], np.uint8)
    return box, np.random.default_rng(seed).choice(values, box.shape)


@settings(max_examples=80, deadline=None)
@given(st.lists(commit(), max_size=6))
def test_patches_hold_what_the_label_volume_shows_each_voxel_once(commits):
    seen = np.full(SHAPE, 255, np.uint8)
    times = np.zeros(SHAPE, int)
    for patch in replay(commits):
        assert patch.values.shape == patch.box.shape
        labelled = patch.values != 255
        assert labelled.any()
        seen[patch.box.slices][labelled] = patch.values[labelled]
        times[patch.box.slices] += labelled
    assert np.array_equal(seen, painted(commits))
    assert times.max(initial=0) <= 1


def test_corrections_of_a_patch_stay_one_patch_cropped_to_its_labels():
    box = Box((0, 1, 1), (1, 7, 7))
    first, second = (np.full(box.shape, 255, np.uint8) for _ in range(2))
    first[0, 2, 2], second[0, 2, 3] = 1, 0
    (patch,) = replay([(box, first), (box, second)])
    assert patch.box == Box((0, 3, 3), (1, 4, 5))
    assert patch.values.tolist() == [[[1, 0]]]


def test_memory_is_bounded():
    box = Box.of_shape(SHAPE)
    with pytest.raises(ResourceExhaustedError, match="more than one training run"):
        replay([(box, np.zeros(SHAPE, np.uint8))], max_voxels=100)
