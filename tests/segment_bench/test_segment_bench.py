import importlib.util

import numpy as np
import pytest
import torch

from benchmarks.segment import bare, speed
from biosegment.nets import weights
from biosegment.nets.architectures import build


@pytest.fixture
def loaded(monkeypatch):
    torch.manual_seed(0)
    parameters = {"feature_maps": 2, "levels": 2}
    module = build("unet2d", parameters, 2).eval()
    data = weights.dump(weights.Weights(module, "unet2d", parameters, (0, 1)))
    monkeypatch.setattr(bare, "_loaded", {})
    return bare.load(data)


def test_the_fastest_tile_is_the_one_of_the_highest_rate(loaded, monkeypatch):
    threads, _ = loaded
    assert threads >= 1
    raw = np.random.default_rng(0).integers(0, 255, (2, 64, 96)).astype(np.uint8)
    monkeypatch.setattr(bare, "CANDIDATES", ((1, 32, 32), (2, 64, 64), (1, 128, 128)))
    tile, rates = bare.best_tile(raw, 1)
    # The third is larger than what there is.
    assert set(rates) == {"1 × 32 × 32", "2 × 64 × 64"}
    assert rates[" × ".join(map(str, tile))] == max(rates.values())


@pytest.mark.skipif(importlib.util.find_spec("monai") is None, reason="MONAI is not installed")
def test_the_sliding_window_covers_every_section(loaded):
    raw = np.random.default_rng(0).integers(0, 255, (2, 300, 280)).astype(np.uint8)
    seconds, found = bare.sliding_window(raw)
    assert seconds > 0
    assert found.shape == raw.shape
    assert set(np.unique(found)) <= {0, 1}


def test_iou_is_of_the_foreground():
    guess = np.array([[0, 1, 1, 0]], np.uint8)
    truth = np.array([[0, 1, 0, 1]], np.uint8)
    assert speed._iou(guess, truth) == pytest.approx(1 / 3, abs=1e-4)
