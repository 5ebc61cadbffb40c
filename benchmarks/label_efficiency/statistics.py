"""Figures of learning curves: means with their spread, paired differences, labels saved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from benchmarks.label_efficiency.store import Curve

Budgets = Mapping[int, float]
"""IoU by patches labelled."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: Over the seeds.
        spread: Standard deviation over them (n - 1); nan for a single one.
        half: Half of the mean's 95 % confidence interval (Student's t); nan for a single one.
        count: Seeds.
    """

    mean: float
    spread: float
    half: float
    count: int

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + self.half


def estimate(values: Sequence[float]) -> Estimate:
    """Mean, spread and confidence interval of at least one value."""
    from scipy.stats import t

    count = len(values)
    mean = float(np.mean(values))
    if count < 2:
        return Estimate(mean, float("nan"), float("nan"), count)
    spread = float(np.std(values, ddof=1))
    half = float(t.ppf(0.975, count - 1)) * spread / count**0.5
    return Estimate(mean, spread, half, count)


def by_strategy(curves: Sequence[Curve]) -> dict[str, dict[int, Budgets]]:
    """IoU by strategy, seed and patches labelled."""
    found: dict[str, dict[int, Budgets]] = {}
    for curve in curves:
        points = {done.labelled: done.iou for done in curve.rounds}
        found.setdefault(curve.strategy, {})[curve.seed] = points
    return found


def at(seeds: Mapping[int, Budgets], labelled: int) -> Estimate | None:
    """IoU at a budget over the seeds that have come so far; None if there is none."""
    values = [points[labelled] for points in seeds.values() if labelled in points]
    return estimate(values) if values else None


def difference(
    one: Mapping[int, Budgets], other: Mapping[int, Budgets], labelled: int
) -> Estimate | None:
    """Paired difference at a budget over the seeds that both have; None if there is none."""
    values = [
        one[seed][labelled] - other[seed][labelled]
        for seed in sorted(set(one) & set(other))
        if labelled in one[seed] and labelled in other[seed]
    ]
    return estimate(values) if values else None


def area(points: Budgets) -> float:
    """Area under a curve by the trapezium rule, over its extent: the mean IoU along the way."""
    budgets = sorted(points)
    if len(budgets) < 2:
        return points[budgets[0]]
    total = sum((b - a) * (points[a] + points[b]) / 2 for a, b in pairwise(budgets))
    return total / (budgets[-1] - budgets[0])


def labels_to_reach(points: Budgets, iou: float) -> float | None:
    """Patches at which a curve first reaches an IoU, linear in between; None if it never does."""
    budgets = sorted(points)
    if points[budgets[0]] >= iou:
        return float(budgets[0])
    for a, b in pairwise(budgets):
        if points[b] >= iou:
            return a + (b - a) * (iou - points[a]) / (points[b] - points[a])
    return None


def furthest(seeds: Mapping[int, Budgets]) -> dict[int, Budgets]:
    """The seeds that have come as far as any; those still running would cut the others short."""
    last = max(max(points) for points in seeds.values())
    return {seed: points for seed, points in seeds.items() if max(points) == last}


def mean_curve(seeds: Mapping[int, Budgets]) -> dict[int, float]:
    """Mean IoU at each budget that every seed has."""
    common = set.intersection(*(set(points) for points in seeds.values()))
    return {n: float(np.mean([points[n] for points in seeds.values()])) for n in sorted(common)}
