"""The results as a table of figures, a picture and a page of text."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.label_efficiency.plan import ALL
from benchmarks.label_efficiency.protocol import Protocol
from benchmarks.label_efficiency.statistics import (
    Budgets,
    Estimate,
    area,
    at,
    by_strategy,
    difference,
    estimate,
    furthest,
    labels_to_reach,
    mean_curve,
)
from benchmarks.label_efficiency.store import Curve

BASELINES = ("random", "foreground_random")
Seeds = Mapping[int, Budgets]


def write(folder: Path, name: str, protocol: Protocol, curves: Sequence[Curve]) -> dict[str, Any]:
    """Writes curves.csv, figure.png and report.md.

    Args:
        folder: Where to.
        name: Of the data.
        protocol: The experiment's settings.
        curves: What there is so far.

    Returns:
        The figures in short, by strategy, as JSON values.
    """
    (folder / "curves.csv").write_text(table(curves))
    found = by_strategy(curves)
    full = {text: seeds for text, seeds in found.items() if text.partition("+")[0] == ALL}
    learned = {text: seeds for text, seeds in found.items() if text not in full}
    complete = {text: furthest(seeds) for text, seeds in learned.items()}
    summary = summaries(complete, full)
    (folder / "report.md").write_text(page(name, protocol, learned, full, summary))
    if learned:
        from benchmarks.label_efficiency.figure import draw

        draw(folder / "figure.png", f"{name}, {protocol.name} protocol", complete, full)
    return {"data": name, "protocol": protocol.name, "strategies": summary}


def table(curves: Sequence[Curve]) -> str:
    """curves.csv: strategy, seed, labelled, iou, seconds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("strategy", "seed", "labelled", "iou", "seconds"))
    for curve in curves:
        for done in curve.rounds:
            row = (f"{done.iou:.6f}", f"{done.seconds:.1f}")
            writer.writerow((curve.strategy, curve.seed, done.labelled, *row))
    return text.getvalue()


def summaries(learned: Mapping[str, Seeds], full: Mapping[str, Seeds]) -> dict[str, Any]:
    """Per strategy: final IoU, area, labels to reach random's final IoU, share of supervision."""
    random = learned.get("random")
    target = _last(random) if random else None
    best = _last(full[ALL]) if ALL in full else None
    made: dict[str, Any] = {}
    for text, seeds in learned.items():
        final = _last(seeds)
        areas = estimate([area(points) for points in seeds.values()])
        made[text] = {
            "seeds": len(seeds),
            "labelled": max(mean_curve(seeds)),
            "iou": round(final.mean, 4),
            "area": round(areas.mean, 4),
            "labels_to_random": _rounded(labels_to_reach(mean_curve(seeds), target.mean), 1)
            if target
            else None,
            "of_full": round(final.mean / best.mean, 4) if best else None,
        }
    return made


def page(
    name: str,
    protocol: Protocol,
    learned: Mapping[str, Seeds],
    full: Mapping[str, Seeds],
    summary: Mapping[str, Any],
) -> str:
    """report.md."""
    budgets = sorted({n for seeds in learned.values() for points in seeds.values() for n in points})
    setting = (
        f"First {protocol.initial} patches of {protocol.patch} × {protocol.patch} (binned "
        f"× {protocol.binning}), then {protocol.batch} out of a pool of {protocol.pool} per round; "
        f"U-Net with {protocol.feature_maps} feature maps; batches of {protocol.batch_size} crops. "
        "IoU on the part that was not trained on; mean ± standard deviation over the seeds."
    )
    lines = [
        f"# Label efficiency on {name}, {protocol.name} protocol",
        "",
        setting,
        "",
        "![learning curves](figure.png)",
        "",
        *_row("strategy", *map(str, budgets), header=True),
    ]
    for text, seeds in learned.items():
        lines += _row(text, *(_spread(at(seeds, n)) for n in budgets))
    for text, seeds in full.items():
        lines += ["", f"Full supervision, `{text}`: {_spread(_last(seeds))}."]
    lines += [
        "",
        "## In short",
        "",
        *_row(
            "strategy",
            "seeds",
            "final IoU",
            "area under the curve",
            "labels to random's final IoU",
            "share of full supervision",
            header=True,
        ),
    ]
    for text, entry in summary.items():
        shown = (entry[key] for key in ("seeds", "iou", "area", "labels_to_random", "of_full"))
        lines += _row(text, *("–" if value is None else str(value) for value in shown))
    for baseline in BASELINES:
        if baseline in learned:
            lines += ["", *_against(baseline, learned, budgets)]
    return "\n".join(lines) + "\n"


def _against(baseline: str, learned: Mapping[str, Seeds], budgets: Sequence[int]) -> list[str]:
    lines = [
        f"## Against {baseline}",
        "",
        "Paired difference of IoU, same seeds, with the 95 % confidence interval (Student's t).",
        "",
        *_row("strategy", *map(str, budgets), header=True),
    ]
    for text, seeds in learned.items():
        if text != baseline:
            found = (difference(seeds, learned[baseline], n) for n in budgets)
            lines += _row(text, *map(_interval, found))
    return lines


def _last(seeds: Seeds) -> Estimate:
    return estimate([points[max(mean_curve(seeds))] for points in seeds.values()])


def _row(*cells: str, header: bool = False) -> list[str]:
    row = f"| {' | '.join(cells)} |"
    return [row, "|" + " --- |" * len(cells)] if header else [row]


def _spread(found: Estimate | None) -> str:
    if found is None:
        return "–"
    return f"{found.mean:.3f}" + (f" ± {found.spread:.3f}" if found.count > 1 else "")


def _interval(found: Estimate | None) -> str:
    if found is None:
        return "–"
    shown = f"{found.mean:+.3f}"
    return shown + (f" [{found.low:+.3f}, {found.high:+.3f}]" if found.count > 1 else "")


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
