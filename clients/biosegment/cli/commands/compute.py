"""train, predict, segment, evaluate."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from biosegment.cli import parse
from biosegment.cli.commands.data import Wait
from biosegment.cli.follow import finish
from biosegment.cli.output import show_values
from biosegment.cli.session import session_of

Version = Annotated[str, typer.Argument(help="model/number, or model/latest.")]


class Output(StrEnum):
    """What predict computes."""

    LABELS = "labels"
    PROBABILITIES = "probabilities"
    ENTROPY = "entropy"


def train(
    ctx: typer.Context,
    model: str,
    dataset: str,
    base_version: Annotated[
        str | None, typer.Option(help="Version to fine-tune.  [default: fresh weights]")
    ] = None,
    revision: Annotated[
        int, typer.Option(min=0, help="Of the annotation log; 0 means the newest.")
    ] = 0,
    steps: Annotated[int, typer.Option(min=0, help="Optimiser steps.")] = 0,
    batch_size: Annotated[int, typer.Option(min=0, help="Patches per step.")] = 0,
    learning_rate: Annotated[float, typer.Option(min=0, help="Peak learning rate.")] = 0.0,
    patch: Annotated[str | None, typer.Option(help=f"Patch extent, {parse.SHAPE_HELP}")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    wait: Wait = True,
) -> None:
    """Train a model on the annotations of a data set. 0 takes the service's default."""
    from biosegment.client.geometry import shape_proto
    from biosegment.v1.jobs_pb2 import TrainingSettings

    session = session_of(ctx)
    extent = parse.shape(patch)
    settings = TrainingSettings(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patch=shape_proto(extent) if extent else None,
        seed=seed,
    )
    with session.client() as client:
        job = client.train(
            model, dataset, base_version=base_version, revision=revision, settings=settings
        )
        finish(session, client, job, wait=wait)


def predict(
    ctx: typer.Context,
    version: Version,
    dataset: str,
    box: Annotated[str, typer.Option(help=parse.BOX_HELP)],
    out: Annotated[Path, typer.Option(help="File to write, .npy or .tif.")],
    output: Annotated[Output, typer.Option(help="What to compute.")] = Output.LABELS,
) -> None:
    """Predict a box now, into a file."""
    from biosegment.cli import files

    session = session_of(ctx)
    place = parse.box(box)
    files.check_target(out)
    with session.client() as client:
        array = client.predict(version, dataset, place, output=output.value)
    files.save(out, array)
    show_values(
        session, {"path": str(out), "shape": list(array.shape), "data_type": str(array.dtype)}
    )


def segment(
    ctx: typer.Context,
    version: Version,
    dataset: str,
    name: Annotated[
        str | None, typer.Option(help="Name of the segmentation.  [default: after the job]")
    ] = None,
    box: Annotated[str | None, typer.Option(help=f"Only these voxels, {parse.BOX_HELP}")] = None,
    entropy: Annotated[
        str | None, typer.Option(help="Name of a volume to make of the uncertainty as well.")
    ] = None,
    wait: Wait = True,
) -> None:
    """Segment a whole data set."""
    session = session_of(ctx)
    place = parse.optional_box(box)
    with session.client() as client:
        job = client.segment(version, dataset, segmentation=name, box=place, entropy_volume=entropy)
        finish(session, client, job, wait=wait)


def evaluate(
    ctx: typer.Context,
    version: Version,
    dataset: str,
    reference: Annotated[str, typer.Argument(help="The label volume taken as truth.")],
    box: Annotated[str | None, typer.Option(help=f"Only these voxels, {parse.BOX_HELP}")] = None,
    wait: Wait = True,
) -> None:
    """Measure a model version against reference labels."""
    session = session_of(ctx)
    place = parse.optional_box(box)
    with session.client() as client:
        finish(session, client, client.evaluate(version, dataset, reference, box=place), wait=wait)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(train)
    app.command()(predict)
    app.command()(segment)
    app.command()(evaluate)
