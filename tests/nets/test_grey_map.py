"""One map per volume puts it on the scale that a network knows; unlikeness is told."""

import numpy as np
import pytest

from biosegment.client.arrays import data_type_of
from biosegment.nets.intensity import AS_IT_IS, GreyMap, grey_map, on_unit_scale, unit_scale
from biosegment.nets.likeness import remarks
from biosegment.phantom import generate
from biosegment.runtime.grey import GreyMeter
from biosegment.v1 import storage_pb2, types_pb2

PICTURE = generate(shape=(4, 128, 144), voxel_size=(45.0, 9.2, 9.2), seed=5).raw
SIZE = types_pb2.VoxelSize(z=45, y=9.2, x=9.2)


def raw_statistics(volume):
    meter = GreyMeter()
    for section in volume:
        meter.add(section)
    return meter.statistics()


def unit(volume):
    return on_unit_scale(raw_statistics(volume), volume.dtype)


@pytest.mark.parametrize(
    "store",
    [
        lambda raw: raw.astype("u2") * 16,
        lambda raw: (raw * 0.6).astype("u1"),
        lambda raw: (raw * 0.3).astype("u1"),
        lambda raw: (raw * 0.5 + 64).astype("u1"),
        lambda raw: raw.astype("i2") * 100 - 9000,
        lambda raw: raw.astype("f4") * 7 - 1000,
    ],
)
def test_a_picture_stored_otherwise_is_the_same_to_a_network(store):
    stored = store(PICTURE)
    grey = grey_map(unit(stored), unit(PICTURE))
    assert not grey.plain
    error = unit_scale(stored, grey) - unit_scale(PICTURE)
    # Two grey levels of 255, which is what flooring costs at a third of the range.
    assert np.abs(error).max() < 2.2 / 255
    assert abs(error.mean()) < 0.3 / 255


@pytest.mark.parametrize(
    "store",
    [lambda raw: raw, lambda raw: raw.astype("u2") * 257, lambda raw: (raw / 255).astype("f4")],
)
def test_what_is_stored_alike_is_not_touched(store):
    stored = store(PICTURE)
    assert grey_map(unit(stored), unit(PICTURE)) is AS_IT_IS
    assert grey_map(unit(PICTURE[:2]), unit(PICTURE)) is AS_IT_IS
    assert np.array_equal(unit_scale(stored), unit_scale(stored, AS_IT_IS))


def test_without_contrast_or_statistics_nothing_is_mapped():
    flat = unit(np.full((2, 40, 40), 9, np.uint8))
    two_levels = unit(np.repeat(np.array([[[3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 9]]], "u1"), 3, 1))
    for unknown in (flat, types_pb2.GreyStatistics()):
        assert grey_map(unknown, unit(PICTURE)) is AS_IT_IS
        assert grey_map(unit(PICTURE), unknown) is AS_IT_IS
    made = grey_map(two_levels, unit(PICTURE))
    assert np.isfinite([made.scale, made.shift]).all()


def test_no_number_is_0_whatever_the_map():
    raw = np.array([np.nan, np.inf, -np.inf, 2.0], np.float32)
    assert unit_scale(raw, GreyMap(3.0, 1.0)).tolist() == [0.0, 0.0, 0.0, 7.0]
    assert raw.tolist()[3] == 2.0


def told(volume, size=SIZE, known=PICTURE, known_size=SIZE):
    reference = types_pb2.InputReference(grey=unit(known), voxel_size=known_size, dataset="A")
    described = storage_pb2.Volume(
        data_type=data_type_of(volume.dtype), voxel_size=size, grey=raw_statistics(volume)
    )
    return remarks("m/1", reference, "B", described)


@pytest.mark.parametrize("store", [lambda raw: 255 - raw, lambda raw: 60000 - raw.astype("u2") * 9])
def test_inverted_contrast_is_told(store):
    (sentence,) = told(store(PICTURE))
    assert "B seems inverted" in sentence
    assert "m/1" in sentence


def test_nothing_is_said_of_the_same_picture_stored_otherwise():
    padded = np.zeros((4, 300, 300), np.uint8)
    padded[:, :128, :144] = PICTURE
    for volume in (PICTURE, padded, (PICTURE * 0.3).astype("u1"), PICTURE.astype("u2") * 16):
        assert told(volume) == []
    other = generate(shape=(4, 128, 144), voxel_size=(45.0, 9.2, 9.2), seed=6).raw
    assert told(other) == []


def test_what_no_linear_map_explains_is_told():
    gamma = (255.0 * (PICTURE / 255.0) ** 6).astype(np.uint8)
    assert "brightness and contrast do not explain it" in told(gamma)[0]
    assert "hardly any contrast" in told(np.full((2, 40, 40), 9, np.uint8))[0]


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((45, 9.2, 9.2), False),
        ((50, 8, 12), False),
        ((45, 18.4, 18.4), True),
        ((45, 9.2, 5), True),
        ((0, 0, 0), False),
    ],
)
def test_voxels_of_another_size_are_told(size, said):
    z, y, x = size
    found = told(PICTURE, types_pb2.VoxelSize(z=z, y=y, x=x))
    assert [sentence for sentence in found if "Voxels of B are" in sentence] == found
    assert bool(found) is said
