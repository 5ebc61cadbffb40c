"""How a version is measured on labels that it has not learnt from."""

import numpy as np
import pytest
import torch

from biosegment.client.geometry import Box
from biosegment.training.child.fresh import figures, labels_in
from biosegment.training.child.log_replay import LabelPatch
from biosegment.training.child.samples import Sample
from tests.training.training_kit import network, sample

PATCH = (1, 32, 32)


def patch(start, shape, value=1):
    box = Box.at(start, shape)
    return LabelPatch(box, np.full(box.shape, value, np.uint8))


def constant(foreground):
    """A network that sees one class everywhere."""
    net = network().eval()
    with torch.no_grad():
        net.head.weight.zero_()
        net.head.bias.copy_(torch.tensor([0.0, 1.0 if foreground else -1.0]))
    return net


def halves():
    """A sample whose left half is foreground."""
    channels = np.zeros((1, 32, 32), np.uint8)
    channels[:, :, :16] = 1
    return Sample(np.zeros((1, 32, 32), np.uint8), channels)


def test_the_figures_are_those_of_the_labels():
    found = figures(constant(True), [halves(), halves()], (0, 7), PATCH)
    assert found["fresh_iou"] == found["fresh_iou_7"] == pytest.approx(0.5)
    assert (found["fresh_patches"], found["fresh_voxels"]) == (2, 2 * 32 * 32)
    assert figures(constant(False), [halves()], (0, 7), PATCH)["fresh_iou"] == 0


def test_what_is_not_labelled_does_not_count():
    half = halves()
    half.channels[:, :, 16:] = 255
    found = figures(constant(True), [half], (0, 1), PATCH)
    assert (found["fresh_iou"], found["fresh_voxels"]) == (1, 32 * 16)


def test_without_foreground_in_either_there_is_no_figure_but_a_count():
    empty = Sample(np.zeros((1, 32, 32), np.uint8), np.zeros((1, 32, 32), np.uint8))
    found = figures(constant(False), [empty], (0, 1), PATCH)
    assert "fresh_iou" not in found
    assert found["fresh_patches"] == 1
    assert figures(constant(False), [], (0, 1), PATCH) == {}


def test_measuring_leaves_the_network_as_it_was():
    net = network().eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    figures(net, [sample()], (0, 1), PATCH)
    assert not net.training
    assert all(torch.equal(before[name], there) for name, there in net.state_dict().items())


def test_labels_of_a_box_are_what_is_labelled_there_whatever_patch_it_lies_in():
    patches = [patch((0, 0, 0), (1, 8, 8), 1), patch((0, 0, 8), (1, 8, 8), 2)]
    (found,) = labels_in([Box((0, 0, 4), (1, 8, 12))], patches)
    assert found.values[0, :, :4].tolist() == [[1] * 4] * 8
    assert found.values[0, :, 4:].tolist() == [[2] * 4] * 8


def test_boxes_that_overlap_share_no_voxel():
    boxes = [Box((0, 0, 0), (1, 8, 8)), Box((0, 0, 4), (1, 8, 12))]
    found = labels_in(boxes, [patch((0, 0, 0), (1, 8, 12))])
    assert [each.labelled for each in found] == [64, 32]


def test_boxes_whose_labels_were_taken_back_are_left_out():
    assert labels_in([Box((0, 0, 0), (1, 8, 8))], [patch((3, 0, 0), (1, 8, 8))]) == []
