"""The learning curves as a picture."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.label_efficiency.statistics import Budgets, at, mean_curve

_DPI = 120
_USUAL_COLOURS = 10


def draw(
    path: Path,
    title: str,
    learned: Mapping[str, Mapping[int, Budgets]],
    full: Mapping[str, Mapping[int, Budgets]],
) -> None:
    """Draws IoU over patches labelled: means as lines, standard deviations as bands.

    Args:
        path: The PNG file.
        title: Above the axes.
        learned: Curves by strategy and seed.
        full: Full supervision likewise, drawn as levels.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.6), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    if len(learned) > _USUAL_COLOURS:
        axes.set_prop_cycle(color=colormaps["tab20"](range(20)))
    for text, seeds in learned.items():
        means = mean_curve(seeds)
        budgets = np.array(list(means))
        (line,) = axes.plot(budgets, list(means.values()), "o-", ms=3, lw=1.4, label=text)
        found = [at(seeds, int(n)) for n in budgets]
        if len(seeds) > 1:
            low = [entry.mean - entry.spread for entry in found if entry]
            high = [entry.mean + entry.spread for entry in found if entry]
            axes.fill_between(budgets, low, high, alpha=0.12, color=line.get_color(), lw=0)
    for text, seeds in full.items():
        level = float(np.mean([max(points.values()) for points in seeds.values()]))
        axes.axhline(level, ls="--", lw=1, color="0.4")
        axes.annotate(text, (0.01, level), xycoords=("axes fraction", "data"), va="bottom")
    axes.set(xlabel="patches labelled", ylabel="IoU", title=title, ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(path)
