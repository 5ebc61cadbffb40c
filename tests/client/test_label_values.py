"""Numbers of other programs into class values: translated where said, asked about where unclear."""

import numpy as np
import pytest

from biosegment.client import label_values
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.label_values import (
    AS_PAINTED,
    LabelReader,
    parse_rules,
    read_labels,
)

TRUTH = np.array([[[0, 1, 1], [1, 0, 0]]], np.uint8)
CLASSES = (0, 1, 2)


@pytest.mark.parametrize(
    ("stored", "rule"),
    [
        (TRUTH * 255, "255=1"),
        (TRUTH * 254, "254=1"),
        (TRUTH * 128, "128=1"),
        (TRUTH.astype("u2") * 65535, "65535=1"),
        (-TRUTH.astype("i1"), "-1=1"),
        (TRUTH.astype("u8") * (2**64 - 1), "1-=1"),
        (np.where(TRUTH == 1, np.arange(1, 7).reshape(TRUTH.shape) * 1000, 0), "1000-6000=1"),
    ],
)
def test_numbers_that_mean_a_class_are_asked_for_and_translated(
    stored: np.ndarray, rule: str
) -> None:
    with pytest.raises(InvalidArgumentError, match="--map"):
        read_labels(stored, CLASSES, clears=True)
    np.testing.assert_array_equal(
        read_labels(stored, CLASSES, parse_rules([rule]), clears=True), TRUTH
    )


@pytest.mark.parametrize(
    "stored",
    [
        TRUTH * 255,
        np.full((1, 2, 2), 255, np.uint8),
        TRUTH.astype("i8") * 255,
        TRUTH * 254,
        np.array([[[0, 254, 255]]], np.uint8),
    ],
)
def test_the_advice_about_reserved_numbers_can_be_followed(stored: np.ndarray) -> None:
    with pytest.raises(InvalidArgumentError, match=r"--map (\d+)=1; if it means .*--map \1=\1\."):
        read_labels(stored, CLASSES, clears=True)
    kept = read_labels(stored, CLASSES, parse_rules(AS_PAINTED), clears=True)
    np.testing.assert_array_equal(kept, stored)


@pytest.mark.parametrize(
    "dtype", ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", ">i4"]
)
def test_every_type_of_whole_numbers_is_taken(dtype: str) -> None:
    made = read_labels(TRUTH.astype(dtype), CLASSES)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, TRUTH)


def test_255_beside_a_class_is_not_labelled_and_counted() -> None:
    reader = LabelReader(CLASSES, clears=True)
    mask = np.array([[[0, 1, 255], [255, 254, 2]]], np.uint8)
    np.testing.assert_array_equal(reader.read(mask), mask)
    reader.finish()
    assert (reader.not_labelled, reader.cleared) == (2, 1)


def test_numbers_of_objects_are_recognised() -> None:
    objects = np.arange(40, dtype=np.int32).reshape(1, 5, 8)
    with pytest.raises(InvalidArgumentError, match=r"one number per object.*--map 3-=1.*instances"):
        read_labels(objects, CLASSES)
    made = read_labels(objects, CLASSES, parse_rules(["1-=1"]))
    assert made.sum() == 39


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.array([[[0.5]]]), "0.5.*whole numbers.*threshold"),
        (np.array([[[np.nan]]], "f4"), "nan.*whole numbers"),
        (np.array([[[np.inf]]], "f4"), "inf.*whole numbers"),
        (np.array([[[1j]]]), "complex"),
        (np.array([[[1e300]]]), "whole numbers"),
        (np.array([[[-1]]]), r"number -1, which is no label class.*--map -1=1.*--map -1=255"),
        (np.array([[[7]]]), r"number 7, .*\(the project's classes are 0, 1, 2\)"),
    ],
)
def test_what_has_no_meaning_is_refused(labels: np.ndarray, words: str) -> None:
    with pytest.raises(InvalidArgumentError, match=words):
        read_labels(labels, CLASSES)


def test_where_there_is_no_class_yet_the_advice_makes_one() -> None:
    with pytest.raises(InvalidArgumentError, match=r"biosegment class set 1 NAME.*--map 255=1"):
        read_labels(TRUTH * 255, [0])


@pytest.mark.parametrize("text", ["", "255", "255=", "=1", "a=1", "1.5=1", "3-1=1", "5=9", "5=256"])
def test_rules_that_lead_nowhere_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError):
        LabelReader(CLASSES, parse_rules([text]))


def test_clearing_is_for_the_log_alone() -> None:
    mask = np.array([[[1, 254]]], np.uint8)
    with pytest.raises(InvalidArgumentError, match="254, which is no label class"):
        read_labels(mask, CLASSES)
    with pytest.raises(InvalidArgumentError, match="254=254"):
        LabelReader(CLASSES, parse_rules(["254=254"]))


def test_the_first_rule_that_holds_a_number_decides_and_numbers_may_swap() -> None:
    inverted = np.array([[[0, 255]]], np.uint8)
    made = read_labels(inverted, CLASSES, parse_rules(["0=1", "255=0", "1-=2"]))
    assert made.tolist() == [[[1, 0]]]


def test_pieces_are_judged_together_and_the_piece_is_named() -> None:
    empty, full = np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8)
    reader = LabelReader(CLASSES, source="x.tif")
    for piece in (empty, full):
        reader.read(piece)
    with pytest.raises(InvalidArgumentError, match=r"x\.tif holds 0 and 255 and no other number"):
        reader.finish()
    reader.read(np.ones((2, 2), np.uint8))
    reader.finish()
    with pytest.raises(InvalidArgumentError, match=r"x\.tif, page 2, holds the number 9"):
        reader.read(empty + 9, "page 2")


def test_large_labels_are_read_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_values, "_PIECE", 7)
    labels = np.random.default_rng(2).integers(0, 3, (4, 5, 6)).astype(np.int32)
    reader = LabelReader(CLASSES)
    np.testing.assert_array_equal(reader.read(labels[:, ::-1]), labels[:, ::-1])
    assert reader.counts[:3].tolist() == np.bincount(labels.reshape(-1)).tolist()
