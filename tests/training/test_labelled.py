"""Classes without labels are named, and labels of one class alone refused."""

import numpy as np
import pytest

from biosegment.client.errors import FailedPreconditionError
from biosegment.training.child.samples import Sample, labelled_voxels
from biosegment.training.labelled import check, not_held_out
from biosegment.v1 import jobs_pb2

DATASET = "projects/p/datasets/d"
NAMES = {0: "background", 1: "mitochondria", 7: ""}


def spec(**more):
    return jobs_pb2.TrainSpec(dataset=DATASET, revision=3, **more)


def test_voxels_are_counted_by_class_value():
    channels = np.array([[[0, 0, 1], [255, 255, 0]]], np.uint8)
    raw = np.zeros((1, 2, 3), np.uint8)
    counts = labelled_voxels([Sample(raw, channels)] * 2, [0, 7, 1])
    assert counts == {0: 6, 7: 2, 1: 0}


def test_with_labels_of_every_class_nothing_is_said():
    assert check({0: 5, 1: 1}, spec(), NAMES) == []


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({0: 5, 1: 0}, r"class 0 \(background\) alone.*class 1 \(mitochondria\) too"),
        ({0: 0, 1: 5}, r"class 1 \(mitochondria\) alone.*class 0 \(background\) too"),
        ({0: 5, 1: 0, 7: 0}, r"class 1 \(mitochondria\) or class 7 too"),
    ],
)
def test_labels_of_one_class_alone_are_refused(counts, words):
    with pytest.raises(FailedPreconditionError, match=f"Revision 3 of {DATASET} .*{words}"):
        check(counts, spec(), NAMES)


@pytest.mark.parametrize(
    ("counts", "more", "named"),
    [
        ({0: 5, 1: 2, 7: 0}, {}, ["class 7"]),
        ({0: 0, 1: 2, 7: 1}, {}, ["class 0 (background)"]),
        # What knows something already, or gets more labels soon, goes on.
        ({0: 5, 1: 0}, {"base_version": "projects/p/models/m/versions/1"}, ["class 1"]),
        ({0: 5, 1: 0, 7: 0}, {"round": "projects/p/campaigns/c/rounds/1"}, ["class 1", "class 7"]),
    ],
)
def test_classes_without_labels_are_named(counts, more, named):
    (told,) = check(counts, spec(**more), NAMES)
    assert "revision 3" in told
    assert all(name in told for name in named)


def test_a_hold_out_that_measures_nothing_says_why():
    assert "at least 5 labelled patches, and there were 3." in not_held_out(3, 5)
    assert "two patches with the same foreground class" in not_held_out(9, 5)
