"""The command line: global options, the groups of commands.

Command modules import only typer at module level; grpc, numpy and the rest are imported inside
the commands, so that --help answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from biosegment.cli.commands import (
    annotate,
    campaign,
    compute,
    data,
    instances,
    job,
    model,
    patches,
    platform,
    training,
)
from biosegment.cli.root import Root
from biosegment.cli.session import Session

app = typer.Typer(
    cls=Root,
    help="Active-learning segmentation of volume electron microscopy, at any size.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("biosegment"))
        raise typer.Exit


@app.callback()
def _globals(
    ctx: typer.Context,
    connection: Annotated[
        Path | None,
        typer.Option(
            envvar="BIOSEGMENT_CONNECTION", help="Connection file of the platform to talk to."
        ),
    ] = None,
    project: Annotated[
        str, typer.Option(envvar="BIOSEGMENT_PROJECT", help="Project that short names belong to.")
    ] = "default",
    as_json: Annotated[
        bool, typer.Option("--json", help="Write JSON to stdout, for programs.")
    ] = False,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    ctx.obj = Session(connection_path=connection, project=project, as_json=as_json)


platform.register(app)
data.register(app)
model.register(app)
campaign.register(app)
patches.register(app)
annotate.register(app)
training.register(app)
compute.register(app)
instances.register(app)
job.register(app)
