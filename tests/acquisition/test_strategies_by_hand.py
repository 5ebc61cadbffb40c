"""Every strategy that is more than one statistic, on cases worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from biosegment.acquisition.embedding_space import k_means
from biosegment.acquisition.strategies.base import Candidates, read_parameters
from biosegment.acquisition.strategies.core_set import CoreSet
from biosegment.acquisition.strategies.dropout import Bald, MutualInformation
from biosegment.acquisition.strategies.ensemble import Ensemble
from biosegment.acquisition.strategies.foreground_random import ForegroundRandom
from biosegment.acquisition.strategies.hybrid import Hybrid, HybridParameters
from biosegment.acquisition.strategies.k_means import KMeans
from biosegment.acquisition.strategies.margin import Margin
from biosegment.acquisition.strategies.power_entropy import PowerEntropy, PowerEntropyParameters
from biosegment.acquisition.strategies.strided import Strided, places
from biosegment.acquisition.strategies.table import strategies
from biosegment.acquisition.strategies.typicality import Typicality, typicality_of
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import Box


def row(count, step=16):
    return [Box.at((0, 0, step * n), (1, 16, 16)) for n in range(count)]


def rng(seed=0):
    return np.random.default_rng(seed)


def chosen(strategy, candidates, k, seed=0):
    return [choice.index for choice in strategy.select(candidates, k, rng(seed))]


def line(*places_on_it):
    """Embeddings on a line."""
    return np.array([[place, 0.0] for place in places_on_it], np.float32)


@pytest.mark.parametrize(
    ("strategy", "statistic"),
    [
        (Margin, "margin"),
        (Bald, "bald"),
        (MutualInformation, "mutual_information"),
        (Ensemble, "mutual_information"),
    ],
)
def test_one_statistic_highest_first(strategy, statistic):
    # Three classes, (0.5, 0.4, 0.1): 1 - (p1 - p2) is 0.9; (0.6, 0.2, 0.2): 0.6.
    candidates = Candidates(boxes=row(3), statistics={statistic: np.array([0.6, 0.9, 0.0])})
    assert chosen(strategy(), candidates, 2) == [1, 0]
    assert strategy().select(candidates, 1, rng())[0].score == 0.9


def test_core_set_goes_to_what_is_farthest_from_the_labelled():
    candidates = Candidates(
        boxes=row(5),
        embeddings=line(0, 1, 4, 9, 10),
        labelled_embeddings=line(0),
    )
    # 10 is 10 from the label; then 4, which is 4 from 0 and 6 from 10; then 1 and 9, 1 off each.
    choices = CoreSet().select(candidates, 3, rng())
    assert [choice.index for choice in choices[:2]] == [4, 2]
    assert [choice.score for choice in choices] == pytest.approx([10.0, 4.0, 1.0])


def test_core_set_without_labels_begins_in_the_middle():
    # The mean is 4.8: 4 is nearest.
    candidates = Candidates(boxes=row(5), embeddings=line(0, 1, 4, 9, 10))
    assert chosen(CoreSet(), candidates, 2) == [2, 4]


def test_core_set_skips_what_overlaps():
    candidates = Candidates(
        boxes=row(4, step=8), embeddings=line(0, 5, 9, 10), labelled_embeddings=line(0)
    )
    # 3 first; 2 overlaps it; then 1.
    assert chosen(CoreSet(), candidates, 4) == [3, 1]


def test_k_means_takes_the_middle_of_each_cluster():
    # Means 1 and 11 (2 rows each beside the middle one); 21 stands alone.
    candidates = Candidates(boxes=row(7), embeddings=line(0, 1.25, 2, 10, 10.75, 12, 40))
    found = KMeans().select(candidates, 3, rng())
    # Clusters {0, 1.25, 2} around 1.083, {10, 10.75, 12} around 10.917, {40}.
    assert {choice.index for choice in found} == {1, 4, 6}
    assert found[-1].index == 6
    assert found[-1].score == 0


def test_k_means_fills_up_where_a_cluster_overlaps_another():
    boxes = [Box.at((0, 0, x), (1, 16, 16)) for x in (0, 4, 32, 64)]
    candidates = Candidates(boxes=boxes, embeddings=line(0, 50, 0.5, 0.75))
    # {1} overlaps 0 and no other is in its cluster, or 0 was not taken: two come back anyway.
    assert len(chosen(KMeans(), candidates, 2)) == 2
    assert len(chosen(KMeans(), candidates, 9)) == 3


def test_typicality_takes_the_densest_point_of_each_cluster_without_a_label():
    # Directions around 0, 40 and 80 degrees; the first has a label at 1 degree.
    degrees = np.array([0, 1, 2, 3, 38, 40, 41, 42, 43, 78, 80, 82])
    turn = np.deg2rad(degrees)
    embeddings = np.stack([np.cos(turn), np.sin(turn)], axis=1).astype(np.float32) * 7
    candidates = Candidates(
        boxes=row(12),
        embeddings=embeddings,
        labelled=[Box.at((0, 64, 0), (1, 16, 16))],
        labelled_embeddings=embeddings[1:2],
    )
    # Three clusters for one label and two more. Of the larger, {38, 40..43}, 41 is nearest to
    # the others (3, 1, 1, 2); of {78, 80, 82} it is 80.
    assert chosen(Typicality(), candidates, 2) == [6, 10]


def test_typicality_by_hand():
    # Mean distances to the two nearest others: (1 + 3) / 2, (1 + 2) / 2, (2 + 3) / 2.
    found = typicality_of(line(0, 1, 3), 2, rng())
    np.testing.assert_allclose(found, [1 / 2, 1 / 1.5, 1 / 2.5], rtol=1e-5)
    assert typicality_of(line(5), 20, rng()).tolist() == [0.0]


def test_strided_follows_its_sequence():
    # 0.5 + n / g ** (1, 2, 3) modulo 1, g = 1.22074: n = 1 is (0.3192, 0.1710, 0.0497).
    np.testing.assert_allclose(places(0, 1)[0], [0.31917, 0.17104, 0.04970], atol=1e-4)
    np.testing.assert_allclose(places(1, 2), places(0, 3)[1:])
    boxes = [Box.at((z, y, x), (1, 8, 8)) for z in range(8) for y in (0, 8) for x in (0, 8, 16, 24)]
    found = Strided().select(Candidates(boxes=boxes), 8, rng())
    taken = [boxes[choice.index] for choice in found]
    # As many in the upper half of the sections as in the lower, give or take one.
    assert sum(box.start[0] >= 4 for box in taken) in (3, 4, 5)
    assert sum(box.start[2] >= 16 for box in taken) in (3, 4, 5)
    more = Strided().select(Candidates(boxes=boxes, labelled=taken), 8, rng())
    assert not {choice.index for choice in found} & {choice.index for choice in more}


def test_foreground_random_draws_a_third_by_predicted_class():
    # Classes 0 (background), 3 and 9; only candidates 0 to 9 hold 3, and only 10 holds 9.
    three, nine = np.zeros(400), np.zeros(400)
    three[:10], nine[10] = 0.5, 0.1
    candidates = Candidates(
        boxes=row(400),
        statistics={"p_0": 1 - three - nine, "p_3": three, "p_9": nine, "entropy": np.ones(400)},
    )
    held = [chosen(ForegroundRandom(), candidates, 6, seed) for seed in range(20)]
    # Two of six by foreground: one of each class.
    assert all(found[0] < 10 or found[0] == 10 for found in held)
    assert all(10 in found for found in held)
    uniform = [index for found in held for index in found[2:]]
    assert np.mean(np.array(uniform) <= 10) < 0.2
    assert len({tuple(found) for found in held}) > 10


def test_power_entropy_is_greedy_at_the_end_and_random_at_the_beginning():
    entropy = np.linspace(0.4, 0.6, 50)
    statistics = {"entropy": entropy, "p_0": np.full(50, 0.5), "p_1": np.full(50, 0.5)}
    begin = Candidates(boxes=row(50), statistics=statistics)
    sure = PowerEntropy(PowerEntropyParameters(last_power=1e6))
    assert chosen(sure, replace(begin, progress=1.0), 3) == [49, 48, 47]
    assert len({chosen(sure, begin, 1, seed)[0] for seed in range(30)}) > 10


def test_power_grows_exponentially():
    parameters = PowerEntropyParameters()
    assert [parameters.power(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([1, 10, 100])


def test_power_entropy_does_not_forget_a_rare_class():
    # Entropy alone would take 0 to 5; class 7 is in 20 and 21 only, class 2 in 10 and 11.
    entropy = np.full(30, 0.1)
    entropy[:6] = 0.5
    p_2, p_7 = np.full(30, 1e-6), np.full(30, 1e-6)
    p_2[10:12], p_7[20:22] = 0.02, 0.01
    candidates = Candidates(
        boxes=row(30),
        statistics={"entropy": entropy, "p_0": 1 - p_2 - p_7, "p_2": p_2, "p_7": p_7},
        progress=1.0,
    )
    strategy = PowerEntropy(PowerEntropyParameters(last_power=1e6))
    # round(0.66 * 9) = 6: two of each class; then three by entropy.
    assert sorted(chosen(strategy, candidates, 9)[2:6]) == [10, 11, 20, 21]
    assert set(chosen(strategy, candidates, 9)) - {10, 11, 20, 21} < set(range(6))


def test_hybrid_spreads_over_the_uncertain():
    candidates = Candidates(
        boxes=row(6),
        statistics={"entropy": np.array([0.9, 0.8, 0.7, 0.6, 0.1, 0.1])},
        embeddings=line(0, 0.1, 5, 4, 100, -100),
    )
    # The short list of two patches at factor 2 is 0 to 3: the surest ones stay out, however far.
    strategy = Hybrid(HybridParameters(factor=2))
    assert chosen(strategy, candidates, 2) == [0, 2]
    near_five = replace(candidates, labelled_embeddings=line(5))
    assert chosen(strategy, near_five, 2) == [0, 3]


@pytest.mark.parametrize("name", sorted(strategies()))
def test_every_strategy_repeats_keeps_apart_and_copes_with_too_few(name):
    draw = rng(1)
    n = 60
    p = draw.dirichlet([5, 1, 1, 0.5], n)
    boxes = [Box.at((0, int(y), int(x)), (1, 16, 16)) for y, x in draw.integers(0, 100, (n, 2))]
    labelled = [Box.at((0, 100, 100), (1, 16, 16))]
    names = ["entropy", "least_confidence", "margin", "bald", "mutual_information"]
    candidates = Candidates(
        boxes=boxes,
        statistics={
            **{each: draw.random(n) for each in names},
            **{f"p_{value}": p[:, column] for column, value in enumerate((0, 2, 7, 11))},
        },
        embeddings=draw.normal(size=(n, 8)).astype(np.float32),
        labelled=labelled,
        labelled_embeddings=draw.normal(size=(1, 8)).astype(np.float32),
        progress=0.5,
    )
    strategy = strategies()[name]()
    found = strategy.select(candidates, 8, rng(2))
    assert found == strategy.select(candidates, 8, rng(2))
    assert len(found) == 8
    assert all(np.isfinite(choice.score) for choice in found)
    taken = [*labelled, *(boxes[choice.index] for choice in found)]
    assert all(a.intersection(b) is None for m, a in enumerate(taken) for b in taken[:m])
    # More than fit: what fits comes back.
    many = strategy.select(candidates, 1000, rng(2))
    assert len({choice.index for choice in many}) == len(many) < n
    same = replace(candidates, embeddings=np.ones((n, 8), np.float32))
    assert len(strategy.select(same, 8, rng(2))) == 8
    empty = Candidates(
        boxes=[],
        statistics={key: values[:0] for key, values in candidates.statistics.items()},
        embeddings=np.empty((0, 8), np.float32),
    )
    assert strategy.select(empty, 5, rng()) == []


@pytest.mark.parametrize(
    ("strategy", "given"),
    [
        (Bald, {"dropout_passes": 0}),
        (Ensemble, {"versions": 1}),
        (ForegroundRandom, {"foreground_share": 1.5}),
        (PowerEntropy, {"first_power": 0}),
        (Hybrid, {"factor": 0}),
        (Typicality, {"neighbours": 0}),
    ],
)
def test_parameters_out_of_range_are_refused(strategy, given):
    with pytest.raises(InvalidArgumentError, match="it must be"):
        read_parameters(strategy, given)


def test_needs_are_declared():
    assert Bald(read_parameters(Bald, {"dropout_passes": 3})).dropout_passes == 3
    assert Ensemble().ensemble_versions == 3
    assert (Margin().dropout_passes, Margin().ensemble_versions) == (0, 1)
    assert not Strided.needs_model()
    assert CoreSet.needs_model()


def test_many_rows_make_centroids_on_a_sample_of_them():
    # Three clumps far apart: a sample finds them as well as all rows do.
    middles = np.array([[0, 0], [100, 0], [0, 100]], np.float32)
    belongs = rng(1).integers(0, 3, 25_000)
    rows = middles[belongs] + rng(2).normal(size=(25_000, 2)).astype(np.float32)
    cluster, squares = k_means(rows, 3, rng(3))
    for clump in range(3):
        assert len(set(cluster[belongs == clump])) == 1
    assert squares.max() < 50


def test_typicality_in_a_large_cluster_compares_with_a_sample():
    rows = rng(1).normal(size=(5000, 2)).astype(np.float32)
    found = typicality_of(rows, 20, rng(2))
    near, far = np.linalg.norm(rows, axis=1) < 0.5, np.linalg.norm(rows, axis=1) > 2.5
    assert found[near].min() > found[far].max() / 2
    assert found[near].mean() > 3 * found[far].mean()
