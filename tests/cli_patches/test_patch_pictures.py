"""What is shown of grey values does not depend on how they are stored, nor on padding."""

import numpy as np
import pytest

from biosegment.cli.patches import picture
from biosegment.client.geometry import Box

TISSUE = np.random.default_rng(1).normal(120, 20, (1, 64, 64)).clip(1, 254).astype(np.uint8)
SEEN = picture.grey(TISSUE, *picture.limits(TISSUE)).astype(int)


@pytest.mark.parametrize(
    "stored",
    [
        TISSUE.astype("u2") * 257,
        (TISSUE * 0.3).astype("f4"),
        TISSUE.astype("i2") - 200,
        TISSUE.astype("f8") / 255,
    ],
)
def test_the_same_picture_looks_the_same(stored):
    seen = picture.grey(stored, *picture.limits(stored)).astype(int)
    assert np.abs(seen - SEEN).max() <= 1


@pytest.mark.parametrize("value", [0, 255])
def test_padding_takes_no_contrast(value):
    padded = np.full((1, 128, 64), value, np.uint8)
    padded[:, :64] = TISSUE
    seen = picture.grey(padded, *picture.limits(padded)).astype(int)
    assert np.abs(seen[:, :64] - SEEN).max() <= 6


@pytest.mark.parametrize(
    "raw", [np.full((1, 4, 4), 7, np.uint8), np.full((1, 2, 2), np.nan), np.zeros((1, 1, 1), "f4")]
)
def test_nothing_to_see_is_a_picture_too(raw):
    seen = picture.grey(raw, *picture.limits(raw))
    assert (seen.dtype, seen.shape) == (np.uint8, raw.shape)


def test_a_frame_leaves_the_patch_alone_and_ends_at_the_rim():
    grey = np.full((2, 12, 12), 50, np.uint8)
    made = picture.framed(grey, Box((0, 0, 4), (2, 6, 12)))
    assert (made[:, 0:6, 4:12] == 50).all()
    assert (made[:, 6, 3:12] == 255).all()
    assert (made[:, 7, 2:12] == 0).all()
    assert (grey == 50).all()
