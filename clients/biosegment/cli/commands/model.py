"""model: create, list, versions."""

from typing import Annotated

import typer

from biosegment.cli import parse
from biosegment.cli.output import show, show_all
from biosegment.cli.session import session_of

model_app = typer.Typer(no_args_is_help=True, help="Models and their versions.")


@model_app.command("create")
def create(
    ctx: typer.Context,
    name: str,
    classes: Annotated[
        list[int],
        typer.Option("--class", help="Class value, background (0) first; repeat for each."),
    ],
    architecture: Annotated[str, typer.Option(help="The network.")] = "unet2d",
    parameter: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value for the architecture; may be repeated."),
    ] = None,
) -> None:
    """Make a model, without weights yet."""
    session = session_of(ctx)
    parameters = parse.parameters(parameter)
    with session.client() as client:
        made = client.create_model(
            name, classes=classes, architecture=architecture, parameters=parameters
        )
        show(session, made)


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
        columns = ["name", "base_version", "dataset", "revision", "metrics"]
        show_all(session, client.versions(model), columns)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(model_app, name="model")
