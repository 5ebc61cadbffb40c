"""Crops of raw voxels for a run that sees no labels."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from biosegment.client.errors import FailedPreconditionError, JobCancelledError
from biosegment.client.geometry import Box
from biosegment.training.child import pretrain
from biosegment.training.child.pretrain import draw_crops

RAW = np.arange(4 * 40 * 48, dtype=np.uint16).reshape(4, 40, 48)


def read(box: Box) -> NDArray[Any]:
    return RAW[box.slices]


def test_crops_come_from_the_region_and_depend_on_the_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pretrain, "_MOST_CROPS", 50)
    region = Box((1, 8, 16), (3, 40, 48))
    crops = draw_crops(read, region, (1, 16, 16), seed=3)
    assert (crops.shape, crops.dtype) == ((50, 1, 16, 16), np.uint16)
    allowed = set(RAW[region.slices].reshape(-1).tolist())
    assert set(crops.reshape(-1).tolist()) <= allowed
    assert len({crop[0, 0, 0] for crop in crops}) > 25
    assert np.array_equal(crops, draw_crops(read, region, (1, 16, 16), seed=3))
    assert not np.array_equal(crops, draw_crops(read, region, (1, 16, 16), seed=4))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "_MOST_CROP_BYTES", 5 * 16 * 16 * 2)
    assert len(draw_crops(read, Box.of_shape(RAW.shape), (1, 16, 16), seed=1)) == 5


def test_a_region_smaller_than_a_crop_is_refused() -> None:
    with pytest.raises(FailedPreconditionError, match="smaller than a crop of 1 × 64 × 64"):
        draw_crops(read, Box.of_shape(RAW.shape), (1, 64, 64), seed=1)


def test_drawing_can_be_stopped() -> None:
    def stop() -> None:
        raise JobCancelledError("Stopped.")

    with pytest.raises(JobCancelledError):
        draw_crops(read, Box.of_shape(RAW.shape), (1, 16, 16), seed=1, check=stop)


def test_neighbours_come_from_the_region_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "_MOST_CROPS", 20)
    region = Box((1, 0, 0), (3, 40, 48))
    crops = draw_crops(read, region, (1, 16, 16), neighbours=1, seed=3)
    assert crops.shape == (20, 3, 16, 16)
    # Of two sections each is the other's neighbour, on both sides.
    assert np.array_equal(crops[:, 0], crops[:, 2])
    difference = crops[:, 1].astype(int) - crops[:, 0]
    assert set(np.unique(difference)) == {-40 * 48, 40 * 48}
