"""Padding is no part of a picture: near it networks see its mirror image, whatever box is read."""

import numpy as np
import pytest
from tests.inference.test_tiles_seamless import network

from biosegment.client.geometry import Box
from biosegment.inference.child.predict import LABELS, PROBABILITIES
from biosegment.inference.child.region import predict_box
from biosegment.nets.picture import REACH, Picture
from biosegment.runtime.grey import GreyMeter

SHAPE = (2, 260, 230)
INSIDE = Box((0, 70, 50), (2, 190, 170))


def tissue(shape, seed=0):
    return np.random.default_rng(seed).integers(1, 250, shape).astype(np.uint8)


def padded(value=0, dtype=np.uint8):
    raw = np.full(SHAPE, value, dtype)
    raw[INSIDE.slices] = tissue(INSIDE.shape)
    return raw


def turned():
    """A picture that was turned by an eighth, with a dark spot in it."""
    raw = tissue(SHAPE)
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    raw[:, np.abs(y - 130) + np.abs(x - 110) > 100] = 255
    raw[:, 120:140, 100:120] = 0
    return raw


def padding_of(raw):
    meter = GreyMeter()
    for section in raw:
        meter.add(section)
    return list(meter.statistics().padding)


def picture_of(raw):
    return Picture(lambda box: raw[box.slices], raw.shape, padding_of(raw))


@pytest.mark.parametrize(("value", "dtype"), [(0, "u1"), (255, "u1"), (7, "i2"), (np.nan, "f4")])
def test_beside_the_picture_lies_its_mirror_image(value, dtype):
    raw = padded(value, dtype)
    seen = picture_of(raw).read(Box.of_shape(SHAPE))
    near = Box((0, 70 - REACH, 50 - REACH), (2, 190 + REACH, 170 + REACH))
    around = [(0, 0), (REACH, REACH), (REACH, REACH)]
    mirrored = np.pad(raw[INSIDE.slices], around, mode="reflect")
    np.testing.assert_array_equal(seen[near.slices], mirrored)
    far = np.ones(SHAPE, bool)
    far[near.slices] = False
    np.testing.assert_array_equal(seen[far], raw[far])
    assert seen.dtype == raw.dtype


@pytest.mark.parametrize("raw", [padded(), turned()], ids=["upright", "turned"])
def test_every_box_reads_as_in_the_whole(raw):
    picture = picture_of(raw)
    whole, gone = picture.read(Box.of_shape(SHAPE)), picture.padding(Box.of_shape(SHAPE))
    rng = np.random.default_rng(3)
    for _ in range(25):
        start = [int(rng.integers(n)) for n in SHAPE]
        stop = [int(rng.integers(a + 1, n + 1)) for a, n in zip(start, SHAPE, strict=True)]
        box = Box(tuple(start), tuple(stop))
        np.testing.assert_array_equal(picture.read(box), whole[box.slices])
        part = picture.padding(box)
        found = np.zeros(box.shape, bool) if part is None else part
        np.testing.assert_array_equal(found, gone[box.slices])


def test_spots_of_one_value_inside_are_part_of_the_picture():
    raw = turned()
    assert padding_of(raw) == [255.0]
    spot = Box((0, 120, 100), (2, 140, 120))
    picture = picture_of(raw)
    assert not picture.read(spot).any()
    assert picture.padding(spot) is None


@pytest.mark.parametrize(
    "raw", [tissue(SHAPE), np.full(SHAPE, 9, np.uint8)], ids=["tissue", "flat"]
)
def test_a_volume_without_padding_is_read_as_it_is(raw):
    assert padding_of(raw) == []
    box = Box((0, 3, 5), (1, 80, 90))
    assert np.shares_memory(picture_of(raw).read(box), raw)
    assert picture_of(raw).padding(box) is None


def test_padding_of_two_values_and_of_whole_sections_is_found():
    raw = padded()
    raw[:, :, :50] = 255
    assert padding_of(raw) == [0.0, 255.0]
    raw = tissue((4, 64, 64))
    raw[3] = 128
    assert padding_of(raw) == [128.0]
    seen = Picture(lambda box: raw[box.slices], raw.shape, [128.0])
    np.testing.assert_array_equal(seen.read(Box.of_shape(raw.shape)), raw)
    assert seen.padding(Box((3, 0, 0), (4, 64, 64))).all()


def test_padding_is_background_in_every_output():
    raw = padded()
    picture, predictor = picture_of(raw), network()
    box = Box.of_shape(SHAPE)
    gone = picture.padding(box)
    arguments = {"shape": SHAPE, "padding": picture.padding}
    labels = predict_box(predictor, picture.read, box, output=LABELS, **arguments)
    made = predict_box(predictor, picture.read, box, output=PROBABILITIES, **arguments)
    assert not labels[gone].any()
    assert (made[0, gone] == 1).all()
    np.testing.assert_allclose(made.sum(0), 1, atol=1e-5)
    stored = {}
    write = picture.over(lambda at, array: stored.__setitem__(at, array))
    plain = predict_box(predictor, picture.read, box, output=LABELS, shape=SHAPE)
    write(box, plain)
    np.testing.assert_array_equal(stored[box], labels)
    np.testing.assert_array_equal(labels[~gone], plain[~gone])
