"""Each strategy against cases worked out by hand, and the table that they are found in."""

from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import ClassVar

import numpy as np
import pytest

from biosegment.acquisition.strategies import table
from biosegment.acquisition.strategies.base import (
    Candidates,
    Parameters,
    ScoreStrategy,
    read_parameters,
)
from biosegment.acquisition.strategies.entropy import Entropy
from biosegment.acquisition.strategies.least_confidence import LeastConfidence
from biosegment.acquisition.strategies.random import Random
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import Box


def row(count: int, step: int = 16) -> list[Box]:
    """Patches of 1 × 16 × 16 along x, `step` apart."""
    return [Box.at((0, 0, step * n), (1, 16, 16)) for n in range(count)]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("strategy", "statistic"), [(Entropy, "entropy"), (LeastConfidence, "least_confidence")]
)
def test_uncertainty_takes_the_highest_mean_first(strategy, statistic):
    # Two voxels with p = (0.5, 0.5) and (0.9, 0.1): -Σ p log p is 0.6931 and 0.3251, mean 0.5091;
    # 1 - max p is 0.5 and 0.1, mean 0.3. The other patches are surer.
    values = {"entropy": [0.3251, 0.5091, 0.0], "least_confidence": [0.1, 0.3, 0.0]}
    candidates = Candidates(boxes=row(3), statistics={statistic: np.array(values[statistic])})
    choices = strategy().select(candidates, 2, rng())
    assert [choice.index for choice in choices] == [1, 0]
    assert choices[0].score == values[statistic][1]


def test_entropy_and_least_confidence_may_disagree():
    # Three classes: (0.5, 0.5, 0) has entropy 0.693 and 1 - max p 0.5;
    # (0.55, 0.225, 0.225) has entropy 1.000 and 1 - max p 0.45.
    statistics = {
        "entropy": np.array([np.log(2), -0.55 * np.log(0.55) - 0.45 * np.log(0.225)]),
        "least_confidence": np.array([0.5, 0.45]),
    }
    candidates = Candidates(boxes=row(2), statistics=statistics)
    assert Entropy().select(candidates, 1, rng())[0].index == 1
    assert LeastConfidence().select(candidates, 1, rng())[0].index == 0


def test_random_is_uniform_and_repeats_with_the_generator():
    candidates = Candidates(boxes=row(10))
    strategy = Random()
    first = [choice.index for choice in strategy.select(candidates, 4, rng())]
    assert first == [choice.index for choice in strategy.select(candidates, 4, rng())]
    generator = rng()
    counts = np.zeros(10)
    for _ in range(400):
        for choice in strategy.select(candidates, 4, generator):
            counts[choice.index] += 1
    # 1600 draws over ten patches; five standard deviations around 160.
    assert np.all(np.abs(counts - 160) < 5 * np.sqrt(400 * 0.4 * 0.6))


def test_ties_are_broken_at_random_not_by_position():
    candidates = Candidates(boxes=row(50), statistics={"entropy": np.zeros(50)})
    generator = rng()
    firsts = {Entropy().select(candidates, 1, generator)[0].index for _ in range(20)}
    assert len(firsts) > 5


def test_a_batch_does_not_overlap_itself_or_what_is_labelled():
    boxes = row(5, step=8)
    candidates = Candidates(
        boxes=boxes,
        statistics={"entropy": np.array([0.9, 1.0, 0.8, 0.7, 0.6])},
        labelled=[Box.at((0, 0, 32), (1, 16, 16))],
    )
    # 1 is best; 0 and 2 overlap it by half; 3 and 4 overlap what is labelled.
    assert [choice.index for choice in Entropy().select(candidates, 5, rng())] == [1]
    half = Entropy(Parameters(max_overlap=0.5))
    assert [choice.index for choice in half.select(candidates, 5, rng())] == [1, 0, 2, 3]


def test_fewer_come_back_where_there_are_fewer():
    candidates = Candidates(boxes=row(2), statistics={"entropy": np.array([0.1, 0.2])})
    assert len(Entropy().select(candidates, 20, rng())) == 2
    empty = Candidates(boxes=[], statistics={"entropy": np.array([])})
    assert Entropy().select(empty, 20, rng()) == []


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wide(Parameters):
    count: int = 3
    power: float = 1.0
    mode: str = "a"
    on: bool = True


class _Foreign(ScoreStrategy):
    name: ClassVar[str] = "foreign"
    description: ClassVar[str] = "From another package."
    parameters_type: ClassVar[type[Parameters]] = _Wide

    def score(self, candidates, rng):
        return np.zeros(len(candidates.boxes))


def test_parameters_take_the_types_of_their_defaults():
    read = read_parameters(_Foreign, {"count": 4.0, "power": 2, "mode": "b", "on": False})
    assert read == _Wide(count=4, power=2.0, mode="b", on=False)
    assert read_parameters(Entropy, {}) == Parameters()


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"size": 1.0}, "max_overlap, count, power, mode, on"),
        ({"count": 1.5}, "a whole number"),
        ({"power": float("nan")}, "a number"),
        ({"power": True}, "a number"),
        ({"mode": 1.0}, "a text"),
        ({"on": 1.0}, "true or false"),
        ({"max_overlap": 1.0}, "below 1"),
        ({"max_overlap": -0.1}, "at least 0"),
    ],
)
def test_wrong_parameters_are_named(given, word):
    with pytest.raises(InvalidArgumentError, match=word):
        read_parameters(_Foreign, given)


@pytest.fixture
def entry_points(monkeypatch):
    """Lets a test say which entry points are installed."""
    table.strategies.cache_clear()

    def install(**objects: str) -> None:
        points = [EntryPoint(name, value, table.GROUP) for name, value in objects.items()]
        monkeypatch.setattr(table, "entry_points", lambda **_group: points)

    yield install
    table.strategies.cache_clear()


def test_other_packages_bring_strategies(entry_points):
    entry_points(foreign=f"{__name__}:_Foreign")
    assert table.find("foreign") is _Foreign
    assert table.find("entropy") is Entropy


def test_broken_strategies_of_other_packages_are_left_out(entry_points):
    entry_points(
        gone="no.such.module:X",
        odd="math:pi",
        taken="biosegment.acquisition.strategies.random:Random",
    )
    assert not {"gone", "odd", "taken"} & set(table.strategies())
    assert table.find("random") is Random


def test_an_unknown_strategy_names_those_there_are(entry_points):
    entry_points()
    with pytest.raises(InvalidArgumentError, match="entropy, foreground_random, hybrid"):
        table.find("best")
