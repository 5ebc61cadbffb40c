"""Fetches what the pictures show, and has them drawn."""

from pathlib import Path

import numpy as np

from biosegment.cli.demo import figures
from biosegment.cli.demo.plan import Plan
from biosegment.cli.demo.setup import CAMPAIGN, CLASS, DATASET, Scene
from biosegment.cli.demo.whole import Segmented
from biosegment.client import Client
from biosegment.client.geometry import Box
from biosegment.v1 import campaigns_pb2 as pb

_PATCHES = 4
_WIDEST = 1024


def draw(
    client: Client, plan: Plan, scene: Scene, rounds: list[pb.Round], segmented: Segmented
) -> list[tuple[str, Path]]:
    """Draws every picture; captions and paths, in the order of the report."""
    folder = plan.out / "figures"
    measured = [r for r in rounds if "iou" in r.metrics]
    pictures = [("How the model got better", folder / "learning_curve.png")]
    figures.learning_curve(
        pictures[0][1],
        [r.labelled_patches for r in measured],
        [r.metrics["iou"] for r in measured],
        f"{plan.class_name}, {plan.strategy}",
    )
    for number, current in enumerate(rounds, start=1):
        shown = client.proposals(CAMPAIGN, round_index=number, limit=_PATCHES)
        if not shown:
            continue
        path = folder / f"round_{number}.png"
        how = "proposed by the model" if current.base_version else "at random, before any model"
        title = f"Round {number}: patches {how}"
        patches = [_patch(client, scene, proposal, current.base_version) for proposal in shown]
        figures.proposals(path, patches, title)
        pictures.append((title, path))
    path = folder / "held_out.png"
    title = f"A section of the held-out half, IoU of the whole half {segmented.iou:.3f}"
    _section(client, scene, segmented, path, title)
    return [*pictures, (title, path)]


def _patch(
    client: Client, scene: Scene, proposal: pb.Proposal, version: str
) -> figures.ProposedPatch:
    box = Box.from_proto(proposal.box)
    entropy = (
        client.predict(version, DATASET, box, output="entropy")[0].astype(np.float32)
        if version
        else None
    )
    return figures.ProposedPatch(
        client.read(DATASET, box)[0],
        client.read(scene.truth, box)[0].astype(np.uint8),
        entropy,
        proposal.score if proposal.HasField("score") else None,
    )


def _section(client: Client, scene: Scene, segmented: Segmented, path: Path, title: str) -> None:
    z, y, x = scene.held_out.shape
    start = scene.held_out.start
    # The middle of what may be much larger than a picture.
    extent = (1, min(y, _WIDEST), min(x, _WIDEST))
    box = Box.at(
        (start[0] + z // 2, start[1] + (y - extent[1]) // 2, start[2] + (x - extent[2]) // 2),
        extent,
    )
    figures.section(
        path,
        client.read(DATASET, box)[0],
        client.read(scene.truth, box)[0] == CLASS,
        client.read(segmented.volume, box)[0] == CLASS,
        f"{title} (z = {box.start[0]})",
    )
