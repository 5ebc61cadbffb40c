"""model: create, list, versions, architectures."""

from typing import TYPE_CHECKING, Annotated

import typer

from biosegment.cli import parse
from biosegment.cli.output import answer, short, show_all, show_rows, tell
from biosegment.cli.session import Session, session_of

if TYPE_CHECKING:
    from biosegment.v1.registry_pb2 import Evaluation, ModelVersion

model_app = typer.Typer(no_args_is_help=True, help="Models and their versions.")


@model_app.command("create")
def create(
    ctx: typer.Context,
    name: str,
    classes: Annotated[
        list[int],
        typer.Option("--class", help="Class value, background (0) first; repeat for each."),
    ],
    architecture: Annotated[
        str | None, typer.Option(help="The network.  [default: what suits the device]")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value for the architecture; may be repeated."),
    ] = None,
) -> None:
    """Make a model, without weights yet. `model architectures` lists the networks."""
    session = session_of(ctx)
    parameters = parse.parameters(parameter)
    with session.client() as client:
        network = client.architecture(architecture or "", parameters)
        made = client.create_model(
            name, classes=classes, architecture=network.name, parameters=parameters
        )
    answer(
        session,
        made,
        f"Made the model {name} of the network {made.architecture}, for the classes "
        f"{', '.join(map(str, made.classes))}. It has no version before a training.",
        *([network.reason] if architecture is None else []),
        f"Next: biosegment campaign start NAME --dataset DATASET --model {name} --automatic",
    )
    if network.whole_sections and not session.as_json:
        tell(
            f"{network.name} looks at whole sections: it segments them whole or not at all, and "
            "refuses those that are too large for its memory."
        )


@model_app.command("architectures")
def architectures(ctx: typer.Context) -> None:
    """List the networks that models can be made of, with the defaults of their parameters."""
    session = session_of(ctx)
    with session.client() as client:
        columns = ["name", "recommended", "parameters", "patch", "whole_sections", "description"]
        show_all(session, client.architectures(), columns)


@model_app.command("list")
def list_models(ctx: typer.Context) -> None:
    """List the models of the project."""
    session = session_of(ctx)
    with session.client() as client:
        show_all(session, client.models(), ["name", "architecture", "classes", "create_time"])


@model_app.command("versions")
def versions(ctx: typer.Context, model: str) -> None:
    """List the versions of a model, newest first."""
    session = session_of(ctx)
    with session.client() as client:
        found = client.versions(model)
    columns = ["name", "base_version", "dataset", "revision", "metrics"]
    show_all(session, found, columns)
    if session.as_json:
        return
    measured = [(version, each) for version in found for each in version.evaluations]
    if measured:
        typer.echo("\nMeasured with `biosegment evaluate`, newest first:")
        show_rows([_figures(session, version, each) for version, each in measured])


def _figures(
    session: Session, version: "ModelVersion", evaluation: "Evaluation"
) -> dict[str, object]:
    """One measurement, with what it was made on."""
    from biosegment.client import Box

    metrics = sorted(evaluation.metrics.items())
    return {
        "version": short(version.name, session.project),
        "dataset": short(evaluation.dataset, session.project),
        "truth": short(evaluation.reference_volume, session.project),
        "box": str(Box.from_proto(evaluation.box)).strip("[]").replace(" ", ""),
        "figures": " ".join(f"{name}={value:.4g}" for name, value in metrics),
        "voxels": evaluation.voxels,
        "warnings": len(evaluation.warnings) or "",
    }


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(model_app, name="model")
