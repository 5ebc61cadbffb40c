"""Label files page by page: what is strange is named, what is missing is not labelled."""

import numpy as np
import pytest
import tifffile

from biosegment.client.errors import InvalidArgumentError
from biosegment.client.label_values import LabelReader, parse_rules
from biosegment.ingest.class_check import check_all, translated
from biosegment.ingest.readers import folder
from biosegment.ingest.readers.base import Reading
from biosegment.v1 import jobs_pb2

FILLED = Reading(labels=True, gaps=jobs_pb2.GAP_POLICY_FILL)


def scan(path, reading):
    return folder.scan(path, reading, lambda name: path / name, lambda: None)


def test_strange_numbers_are_named_with_their_page(tmp_path):
    pages = np.stack([np.zeros((4, 4), "u1"), np.full((4, 4), 7, "u1")])
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, pages, photometric="minisblack")
    stack = scan(path, Reading(labels=True))
    with pytest.raises(InvalidArgumentError, match="page 2, holds the number 7"):
        check_all(stack, LabelReader([0, 1]), voxels=100)
    check_all(stack, LabelReader([0, 1, 7]), voxels=100)
    check_all(stack, LabelReader([0, 1]), voxels=16)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "f4"])
def test_filled_sections_are_not_labelled_whatever_the_type(tmp_path, dtype):
    for number in (0, 1, 3):
        section = np.array([[0, 1], [1, 0]], dtype)
        tifffile.imwrite(tmp_path / f"s_{number:03}.tif", section, photometric="minisblack")
    labels = LabelReader([0, 1], parse_rules(["1-=1", "-1=1"]))
    made = np.stack(list(translated(scan(tmp_path, FILLED), labels)))
    assert (made[2] == 255).all()
    assert made[[0, 1, 3]].max() == 1
    assert labels.not_labelled == 4
    labels.finish()
