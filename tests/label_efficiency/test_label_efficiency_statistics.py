import math

import pytest

from benchmarks.label_efficiency.statistics import (
    area,
    at,
    by_strategy,
    difference,
    estimate,
    furthest,
    labels_to_reach,
    mean_curve,
)
from benchmarks.label_efficiency.store import Curve, Round


def test_estimates_by_hand():
    found = estimate([1.0, 2.0, 3.0])
    assert (found.mean, found.spread, found.count) == (2.0, 1.0, 3)
    # Student's t for two degrees of freedom at 97.5 % is 4.303.
    assert found.half == pytest.approx(4.3027 / math.sqrt(3), abs=1e-3)
    assert found.low == pytest.approx(2.0 - found.half)
    assert found.high == pytest.approx(2.0 + found.half)
    single = estimate([0.5])
    assert single.mean == 0.5
    assert math.isnan(single.half)


def test_the_area_is_the_mean_along_the_way():
    assert area({20: 0.0, 40: 1.0}) == 0.5
    assert area({20: 0.0, 40: 1.0, 80: 1.0}) == pytest.approx((10 + 40) / 60)
    assert area({20: 0.7}) == 0.7


def test_labels_to_reach_interpolates_and_says_never():
    points = {20: 0.2, 40: 0.6, 60: 0.5}
    assert labels_to_reach(points, 0.1) == 20
    assert labels_to_reach(points, 0.4) == pytest.approx(30)
    assert labels_to_reach(points, 0.6) == pytest.approx(40)
    assert labels_to_reach(points, 0.7) is None


def curve(strategy, seed, *points):
    return Curve(strategy, seed, tuple(Round(n, iou, 1.0, ()) for n, iou in points))


def test_differences_pair_the_seeds_that_both_have():
    found = by_strategy(
        [
            curve("a", 0, (20, 0.5), (40, 0.7)),
            curve("a", 1, (20, 0.1)),
            curve("b", 0, (20, 0.4), (40, 0.5)),
            curve("b", 2, (20, 0.9), (40, 0.9)),
        ]
    )
    pair = difference(found["a"], found["b"], 20)
    assert pair is not None
    assert (pair.mean, pair.count) == (pytest.approx(0.1), 1)
    assert difference(found["a"], {}, 20) is None
    assert at(found["a"], 60) is None
    assert mean_curve(found["a"]) == {20: pytest.approx(0.3)}
    assert furthest(found["a"]) == {0: {20: 0.5, 40: 0.7}}
