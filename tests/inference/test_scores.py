import math

import numpy as np
import pytest
import torch

from biosegment.client.errors import FailedPreconditionError
from biosegment.client.geometry import Box
from biosegment.inference.child.predict import Predictor
from biosegment.inference.child.region import score_boxes
from biosegment.inference.child.score import (
    Comparison,
    disagreement,
    score,
    statistic_names,
    statistics_of,
)
from biosegment.nets.architectures import build
from biosegment.nets.dropout import one_draw
from biosegment.nets.intensity import GreyMap, unit_scale
from biosegment.nets.padding import reflected


def test_statistics_by_hand():
    p = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.5, 0.0]], dtype=torch.float64)
    logits = torch.log(p.clamp(min=1e-300)).T.reshape(1, 3, 1, 1, 2)
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
    logits = torch.tensor([1e4, -1e4]).reshape(1, 2, 1, 1, 1)
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

    padded = reflected(patches[3], [(0, 3), (0, 2)])
    with torch.inference_mode():
        x = torch.from_numpy(unit_scale(padded)[None])
        p = module(x).softmax(1).double().numpy()[..., :13, :18]
    entropy = -(p * np.log(p)).sum(1).mean()
    assert many.statistics[3, 0] == pytest.approx(entropy, abs=1e-6)
    assert many.statistics[3, 3:].sum() == pytest.approx(1.0, abs=1e-6)
    without = score(Predictor(module, (0, 1), 1 << 20), patches)
    assert without.embeddings is None
    np.testing.assert_allclose(without.statistics, many.statistics, atol=1e-6)


def test_disagreement_by_hand():
    # One pixel, three classes, two forwards: mean (0.5, 0.3, 0.2).
    first, second = (0.8, 0.1, 0.1), (0.2, 0.5, 0.3)

    def shannon(p):
        return -sum(q * math.log(q) for q in p)

    logits = [
        torch.tensor(p, dtype=torch.float64).log().reshape(1, 3, 1, 1, 1) for p in (first, second)
    ]
    bald, information = disagreement(iter(logits))[0].tolist()
    assert bald == pytest.approx(shannon((0.5, 0.3, 0.2)))
    assert information == pytest.approx(bald - (shannon(first) + shannon(second)) / 2)
    assert disagreement([logits[0]] * 3)[0, 1].item() == pytest.approx(0, abs=1e-12)


def test_disagreement_of_sure_networks_is_finite():
    sure = torch.tensor([1e4, -1e4]).reshape(1, 2, 1, 1, 1)
    bald, information = disagreement([sure, sure.flip(1)])[0].tolist()
    assert bald == information == pytest.approx(math.log(2))


@pytest.fixture
def patches():
    return np.random.default_rng(1).integers(0, 255, (5, 1, 16, 24)).astype(np.uint8)


def predictor(forward_pixels=1 << 20, dropout=0.5, seed=0):
    torch.manual_seed(seed)
    parameters = {"feature_maps": 4, "levels": 2, "dropout": dropout}
    return Predictor(build("unet2d", parameters, 3), (0, 2, 7), forward_pixels)


def test_passes_with_dropout_are_repeatable_and_do_not_depend_on_the_batch(patches):
    network = predictor()
    plain = score(network, patches)
    compared = Comparison(passes=4, seed=7)
    found = score(network, patches, comparison=compared)
    assert found.names == (*plain.names, "bald", "mutual_information")
    np.testing.assert_allclose(found.statistics[:, :-2], plain.statistics, atol=1e-6)
    assert (found.statistics[:, -1] > 1e-4).all()
    assert (found.statistics[:, -2] >= found.statistics[:, -1]).all()
    single = score(predictor(1), patches, comparison=compared)
    np.testing.assert_allclose(single.statistics, found.statistics, atol=1e-5)
    other = score(network, patches, comparison=Comparison(passes=4, seed=8))
    assert np.abs(other.statistics[:, -1] - found.statistics[:, -1]).max() > 1e-5
    # The network is as it was.
    np.testing.assert_array_equal(score(network, patches).statistics, plain.statistics)


def test_the_mean_over_passes_is_what_the_paper_says(patches):
    network = predictor()
    x = network.tensor(patches)
    forwards = []
    for number in range(3):
        with torch.inference_mode(), one_draw(network.module, 5, number):
            forwards.append(network.module(x).softmax(1).double().numpy())
    mean = np.mean(forwards, axis=0)
    expected = -(mean * np.log(mean)).sum(1).mean((1, 2, 3))
    found = score(network, patches, comparison=Comparison(passes=3, seed=5))
    np.testing.assert_allclose(found.statistics[:, -2], expected, atol=1e-5)


def test_a_network_without_dropout_says_so(patches):
    with pytest.raises(FailedPreconditionError, match="has no dropout"):
        score(predictor(dropout=0.0), patches, comparison=Comparison(passes=2))


def test_versions_are_compared_with_and_without_dropout(patches):
    network, other = predictor(), predictor(seed=1)
    found = score(network, patches, comparison=Comparison((other,)))
    assert (found.statistics[:, -1] > 0).all()
    same = score(network, patches, comparison=Comparison((network, network)))
    np.testing.assert_allclose(same.statistics[:, -1], 0, atol=1e-5)
    both = score(network, patches, comparison=Comparison((other,), 2))
    assert np.isfinite(both.statistics).all()


def test_versions_that_learnt_on_another_scale_see_what_they_know(patches):
    network, other = predictor(), predictor(seed=1)
    expected = score(network, patches, comparison=Comparison((other,)))
    flatter = (patches * np.float32(0.5 / 255) + np.float32(0.1)).astype(np.float32)
    with network.looking_at(GreyMap(2.0, -0.2)), other.looking_at(GreyMap(2.0, -0.2)):
        found = score(network, flatter, comparison=Comparison((other,)))
        np.testing.assert_allclose(found.statistics, expected.statistics, atol=1e-4)
    # The other one knows these values as they are, and is right only if it is shown them so.
    shown = (patches * np.float32(1 / 255)).astype(np.float32)
    with network.looking_at(GreyMap(1.5, 0.1)):
        found = score(network, shown, comparison=Comparison((other,)))
        alone = score(other, shown)
        mapped = score(network, shown)
    with torch.inference_mode():
        forwards = [
            one.logits(torch.from_numpy(x))
            for one, x in ((network, unit_scale(shown, GreyMap(1.5, 0.1))), (other, shown))
        ]
    np.testing.assert_allclose(
        found.statistics[:, -2:], disagreement(iter(forwards)).numpy(), atol=1e-4
    )
    assert not np.allclose(alone.statistics, mapped.statistics)


def test_boxes_are_read_ahead_and_come_back_in_order(patches):
    boxes = [Box.at((n, 0, 0), (1, 16, 24)) for n in range(5)]
    for pixels in (1, 16 * 24 * 2, 1 << 20):
        network = predictor(pixels)
        found = score_boxes(
            network,
            lambda box: patches[box.start[0]],
            boxes,
            shape=(len(boxes), 16, 24),
            with_embeddings=True,
        )
        direct = score(network, patches, with_embeddings=True)
        np.testing.assert_allclose(found.statistics, direct.statistics, atol=1e-6)
        np.testing.assert_allclose(found.embeddings, direct.embeddings, atol=1e-5)


def test_a_patch_that_cannot_be_read_ends_the_call():
    def read(box):
        raise OSError("disk gone")

    boxes = [Box.at((n, 0, 0), (1, 16, 16)) for n in range(50)]
    with pytest.raises(OSError, match="disk gone"):
        score_boxes(predictor(), read, boxes, shape=(50, 16, 16))


def test_patches_of_a_network_with_neighbours_see_the_sections_beside_them():
    torch.manual_seed(0)
    module = build("unet2d", {"feature_maps": 2, "levels": 1, "in_channels": 3}, 2).eval()
    volume = np.random.default_rng(3).integers(0, 255, (6, 16, 24)).astype(np.uint8)
    boxes = [Box((z, 0, 0), (z + 2, 16, 24)) for z in (0, 2, 4)]
    network = Predictor(module, (0, 1), 1 << 20)
    found = score_boxes(network, lambda box: volume[box.slices], boxes, shape=volume.shape)
    # The whole volume, mirrored at its ends.
    with torch.inference_mode():
        whole = module(network.tensor(reflected(volume, [(1, 1), (0, 0), (0, 0)])[None]))
    for n, box in enumerate(boxes):
        expected = statistics_of(whole[(..., *box.slices)])[0].numpy()
        np.testing.assert_allclose(found.statistics[n], expected, atol=1e-5)
