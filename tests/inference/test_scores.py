import math

import numpy as np
import pytest
import torch

from biosegment.inference.child.predict import Predictor
from biosegment.inference.child.score import score, statistic_names, statistics_of
from biosegment.inference.child.tiles import pad_far
from biosegment.nets.architectures import build
from biosegment.nets.intensity import unit_scale


def test_statistics_by_hand():
    p = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.5, 0.0]], dtype=torch.float64)
    logits = torch.log(p.clamp(min=1e-300)).T.reshape(1, 3, 1, 2)
    found = dict(zip(statistic_names((0, 2, 7)), statistics_of(logits)[0].tolist(), strict=True))
    first = -sum(q * math.log(q) for q in (0.7, 0.2, 0.1))
    assert found == pytest.approx(
        {
            "entropy": (first + math.log(2)) / 2,
            "least_confidence": (0.3 + 0.5) / 2,
            "margin": (0.5 + 1.0) / 2,
            "p_0": 0.6,
            "p_2": 0.35,
            "p_7": 0.05,
        }
    )


def test_a_sure_network_gives_zero_not_nan():
    logits = torch.tensor([[[[1e4]], [[-1e4]]]])
    assert statistics_of(logits)[0].tolist() == [0.0, 0.0, 0.0, 1.0, 0.0]


def test_scores_of_patches_do_not_depend_on_the_batch():
    torch.manual_seed(0)
    module = build("unet2d", {"feature_maps": 2, "levels": 2}, 2).eval()
    patches = np.random.default_rng(1).integers(0, 255, (5, 2, 13, 18)).astype(np.uint8)
    many = score(Predictor(module, (0, 1), 1 << 20), patches, with_embeddings=True)
    single = score(Predictor(module, (0, 1), 1), patches, with_embeddings=True)
    np.testing.assert_allclose(many.statistics, single.statistics, atol=1e-6)
    np.testing.assert_allclose(many.embeddings, single.embeddings, atol=1e-5)
    assert many.statistics.shape == (5, 5)
    assert many.embeddings.shape == (5, module.embedding_size)

    padded = pad_far(patches[3], (3, 2))
    with torch.inference_mode():
        x = torch.from_numpy(unit_scale(padded)).unsqueeze(1)
        p = module(x).softmax(1).double().numpy()[:, :, :13, :18]
    entropy = -(p * np.log(p)).sum(1).mean()
    assert many.statistics[3, 0] == pytest.approx(entropy, abs=1e-6)
    assert many.statistics[3, 3:].sum() == pytest.approx(1.0, abs=1e-6)
    without = score(Predictor(module, (0, 1), 1 << 20), patches)
    assert without.embeddings is None
    np.testing.assert_allclose(without.statistics, many.statistics, atol=1e-6)
