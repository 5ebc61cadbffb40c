import math

import numpy as np
import pytest
import torch

from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.nets.channels import IGNORE, to_channels, value_table
from biosegment.nets.intensity import unit_scale
from biosegment.nets.losses import segmentation_loss
from biosegment.nets.metrics import Confusion


def test_cross_entropy_is_averaged_over_labelled_pixels_alone():
    logits = torch.tensor([[[[2.0, -1.0, 0.5]], [[0.0, 0.0, 0.0]]]])
    target = torch.tensor([[[0, 1, IGNORE]]])
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2
    loss = segmentation_loss(logits, target, dice_weight=0.0)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dice_weight", [0.0, 0.5, 1.0])
def test_pixels_without_label_have_no_gradient(dice_weight):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5, 5, requires_grad=True)
    target = torch.randint(0, 3, (2, 5, 5))
    target[:, :, 2:] = IGNORE
    segmentation_loss(logits, target, dice_weight=dice_weight).backward()
    assert torch.equal(logits.grad[..., 2:], torch.zeros(2, 3, 5, 3))
    assert bool((logits.grad[..., :2] != 0).any())


def test_a_batch_without_labels_gives_zero_and_no_nan():
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 4, 4), IGNORE))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_dice_falls_to_zero_when_the_prediction_is_right():
    target = torch.tensor([[[0, 1], [2, IGNORE]]])
    right = torch.nn.functional.one_hot(target.clamp(max=2), 3).movedim(-1, 1) * 50.0
    assert float(segmentation_loss(right, target, dice_weight=1.0)) == pytest.approx(0.0, abs=1e-6)
    assert float(segmentation_loss(-right, target, dice_weight=1.0)) > 0.5


def test_class_values_map_to_channels_and_back():
    values = np.array([0, 2, 7, 3, 254, 255], np.uint8)
    channels = to_channels(values, (0, 2, 7))
    assert channels.tolist() == [0, 1, 2, IGNORE, IGNORE, IGNORE]
    assert to_channels(values, (0, 2, 7), others=0).tolist() == [0, 1, 2, 0, IGNORE, IGNORE]
    assert value_table((0, 2, 7))[channels[:3]].tolist() == [0, 2, 7]
    for bad in [(0, 0), (0, 254), (0, 300)]:
        with pytest.raises(InvalidArgumentError):
            to_channels(values, bad)


def test_iou_by_hand():
    counts = Confusion((0, 2, 7))
    reference = np.array([0, 0, 2, 2, 2, 255, 254, 9], np.uint8)
    predicted = np.array([0, 2, 2, 2, 0, 2, 2, 0], np.uint8)
    assert counts.update(predicted[:4], reference[:4]) == 4
    counts.update(predicted[4:], reference[4:])
    figures = counts.figures()
    assert counts.voxels == 6
    # Background: 2 right (one of them an unknown class), 1 wrong each way.
    assert figures["iou_0"] == pytest.approx(2 / 4)
    assert figures["iou_2"] == pytest.approx(2 / 4)
    assert "iou_7" not in figures
    assert figures["iou"] == figures["iou_2"]
    assert figures["accuracy"] == pytest.approx(4 / 6)
    assert Confusion((0, 1)).figures() == {}


def test_the_scale_depends_on_the_type_alone():
    assert unit_scale(np.array([0, 255], np.uint8)).tolist() == [0.0, 1.0]
    assert unit_scale(np.array([0, 65535], np.uint16)).tolist() == pytest.approx([0.0, 1.0])
    floats = np.array([0.5, np.nan, np.inf], np.float32)
    assert unit_scale(floats).tolist() == [0.5, 0.0, 0.0]
    with pytest.raises(FailedPreconditionError, match="uint8, uint16 or float32"):
        unit_scale(np.zeros(2, np.int64))


def test_classes_that_only_one_side_knows_are_named():
    counts = Confusion([0, 1, 3])
    counts.update(np.array([1, 0], np.uint8), np.array([0, 255], np.uint8))
    assert (counts.missing, counts.unknown) == ([1, 3], [])
    counts.update(np.array([1, 0], np.uint8), np.array([3, 254], np.uint8))
    counts.update(np.array([0, 0], np.uint8), np.array([2, 9], np.uint8))
    assert (counts.missing, counts.unknown) == ([1], [2, 9])
