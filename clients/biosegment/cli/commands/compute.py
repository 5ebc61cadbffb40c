"""predict, segment, evaluate."""

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


class Augment(StrEnum):
    """Ways to look at each section."""

    FLIPS = "flips"
    TURNS = "turns"


class Orientations(StrEnum):
    """How many directions sections are seen along."""

    ONE = "1"
    THREE = "3"


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
    mask: Annotated[
        str | None,
        typer.Option(
            help="A volume that says where to look, by voxels above 0; at the data set's scale or "
            "coarser by whole numbers. Elsewhere nothing is read, and the output is 0."
        ),
    ] = None,
    augment: Annotated[
        Augment | None,
        typer.Option(help="Average over flips (4 forwards), or flips and quarter turns (8)."),
    ] = None,
    orientations: Annotated[
        Orientations,
        typer.Option(
            help="3: average over sections along z, y and x; takes up to nine times as long."
        ),
    ] = Orientations.ONE,
    block: Annotated[
        str | None,
        typer.Option(
            help=f"Extent of what a worker takes at a time, {parse.SHAPE_HELP}  "
            "[default: after the network]"
        ),
    ] = None,
    wait: Wait = True,
) -> None:
    """Segment a whole data set."""
    session = session_of(ctx)
    place, extent = parse.optional_box(box), parse.shape(block)
    with session.client() as client:
        job = client.segment(
            version,
            dataset,
            segmentation=name,
            box=place,
            block=extent,
            entropy_volume=entropy,
            mask=mask,
            augment=None if augment is None else augment.value,
            three_orientations=orientations is Orientations.THREE,
        )
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
    app.command()(predict)
    app.command()(segment)
    app.command()(evaluate)
