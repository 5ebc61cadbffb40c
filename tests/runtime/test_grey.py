"""Grey statistics: those of the picture, however it is stored and whatever is around it."""

import numpy as np
import pytest

from biosegment.client.geometry import Box
from biosegment.phantom import generate
from biosegment.runtime import grey
from biosegment.runtime.grey import GreyMeter, constant, measured, places

PICTURE = generate(shape=(4, 128, 144), voxel_size=(45.0, 9.2, 9.2), seed=5).raw
STORED = {
    "times 16": (lambda raw: raw.astype("u2") * 16, 16, 0),
    "times 257": (lambda raw: raw.astype("u2") * 257, 257, 0),
    "float of 0 to 1": (lambda raw: (raw / 255).astype("f4"), 1 / 255, 0),
    "signed 16 bit": (lambda raw: raw.astype("i2") * 100 - 9000, 100, -9000),
    "signed 8 bit": (lambda raw: (raw.astype("i2") - 128).astype("i1"), 1, -128),
    "big endian": (lambda raw: raw.astype(">u2") * 3, 3, 0),
    "wide": (lambda raw: raw.astype("u4") * 70000, 70000, 0),
}
COARSER = {
    "darker": (lambda raw: (raw * 0.6).astype("u1"), 0.6, -0.5),
    "much darker": (lambda raw: (raw * 0.3).astype("u1"), 0.3, -0.5),
    "flatter": (lambda raw: (raw * 0.5 + 64).astype("u1"), 0.5, 63.75),
}


def statistics(volume):
    meter = GreyMeter()
    assert sum(section.size for section in measured(volume, meter)) == volume.size
    return meter.statistics()


def quantiles(volume):
    return np.array(statistics(volume).quantiles)


@pytest.mark.parametrize("way", STORED)
def test_the_quantiles_follow_how_a_picture_is_stored(way):
    store, factor, offset = STORED[way]
    expected = quantiles(PICTURE) * factor + offset
    np.testing.assert_allclose(quantiles(store(PICTURE)), expected, rtol=1e-5)


@pytest.mark.parametrize("way", COARSER)
def test_few_grey_levels_do_not_move_the_quantiles(way):
    store, factor, offset = COARSER[way]
    found = statistics(store(PICTURE))
    expected = quantiles(PICTURE) * factor + offset
    # A third of a grey level, of the few that there are.
    np.testing.assert_allclose(found.quantiles, expected, atol=0.35)
    assert found.left_out == 0.0


@pytest.mark.parametrize("value", [0, 77, 255])
def test_padding_is_left_out_whatever_its_value_and_place(value):
    padded = np.full((4, 300, 260), value, np.uint8)
    padded[:, 101:229, 59:203] = PICTURE
    padded[2] = value
    found = statistics(padded)
    np.testing.assert_allclose(found.quantiles, quantiles(PICTURE[[0, 1, 3]]), atol=0.5)
    assert found.left_out == pytest.approx(1 - 3 * 128 * 144 / padded.size, abs=1e-3)
    assert found.voxels == padded.size


def test_padding_around_a_picture_that_was_turned_is_left_out_to_its_rim():
    y, x = np.mgrid[:200, :200]
    inside = np.abs(y - 100) + np.abs(x - 90) < 70
    raw = np.random.default_rng(0).integers(60, 200, (200, 200)).astype("u1")
    left_out = constant(np.where(inside, raw, 0))
    assert np.array_equal(left_out, ~inside)


def test_what_is_no_number_is_left_out():
    padded = np.full((4, 200, 200), np.nan, np.float32)
    padded[:, :128, :144] = PICTURE
    padded[0, 0, 0] = np.inf
    np.testing.assert_allclose(quantiles(padded), quantiles(PICTURE), atol=0.5)


@pytest.mark.parametrize("volume", [np.zeros((3, 50, 50), "u1"), np.full((1, 1, 1), np.nan, "f4")])
def test_what_has_no_contrast_has_no_quantiles(volume):
    found = statistics(volume)
    assert (list(found.quantiles), found.left_out, found.voxels) == ([], 1.0, volume.size)
    assert statistics(volume[:0]).left_out == 0.0


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (3, 5), (15, 15)])
def test_sections_smaller_than_a_square_are_measured(shape):
    section = np.arange(shape[0] * shape[1], dtype=np.uint8).reshape(shape)
    assert not constant(section).any()
    assert constant(np.zeros(shape, np.uint8)).all()


def test_large_sections_are_looked_at_in_bands_without_a_difference(monkeypatch):
    padded = np.full((2, 300, 160), 9, np.uint8)
    padded[:, 37:165, 3:147] = PICTURE[:2]
    whole = statistics(padded)
    monkeypatch.setattr(grey, "_BAND_PIXELS", 20 * 160)
    assert statistics(padded) == whole


def test_of_floats_a_bounded_part_is_kept_that_stands_for_all(monkeypatch):
    monkeypatch.setattr(grey, "_KEPT_VALUES", 5000)
    meter = GreyMeter()
    volume = PICTURE.astype("f4")
    for section in volume:
        meter.add(section)
        assert meter._held <= 5000
    found = meter.statistics()
    assert found == statistics(volume)
    np.testing.assert_allclose(found.quantiles, quantiles(PICTURE), atol=4)


def test_a_large_volume_is_looked_at_in_places_that_lie_evenly():
    shape = (5000, 40_000, 30_000)
    boxes = list(places(shape))
    assert sum(box.voxels for box in boxes) <= 1 << 24
    assert all(box.intersection(Box.of_shape(shape)) == box for box in boxes)
    for axis in range(3):
        thirds = np.bincount([box.start[axis] * 3 // shape[axis] for box in boxes], minlength=3)
        assert thirds.min() > 0.25 * len(boxes)
    small = list(places((3, 20, 30)))
    assert sum(box.voxels for box in small) == 3 * 20 * 30
