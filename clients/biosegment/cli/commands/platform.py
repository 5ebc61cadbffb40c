"""up, status, backup, restore, demo."""

from pathlib import Path
from typing import Annotated

import typer

from biosegment.cli.output import show_values, tell
from biosegment.cli.session import session_of

_FORWARD = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "help_option_names": ["--forwarded-help"],
}


def up(
    ctx: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(
            envvar="BIOSEGMENT_HOME",
            help="Folder of everything that the platform keeps.  [default: ~/.biosegment]",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Where the gateway listens; the services stay on 127.0.0.1.")
    ] = "127.0.0.1",
    gateway_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the gateway; 0 means any free one.")
    ] = 8787,
    import_root: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder that imports may read from; may be repeated.  "
            "[default: the current folder and your home]"
        ),
    ] = None,
    export_root: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder that exports may write to; may be repeated.  "
            "[default: the current folder and your home]"
        ),
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    log_megabytes: Annotated[
        float,
        typer.Option(
            envvar="BIOSEGMENT_LOG_MEGABYTES",
            min=0.1,
            help="Of the log files of each process, at most, while it runs too.",
        ),
    ] = 9.0,
    store: Annotated[
        str | None,
        typer.Option(
            envvar="BIOSEGMENT_STORE",
            help="Where the arrays lie: a folder, or s3://bucket/prefix with credentials as every "
            "S3 client finds them.  [default: where they were, at first a folder in the home]",
        ),
    ] = None,
    take_store: Annotated[
        bool,
        typer.Option(
            "--take-store",
            help="The arrays are this home's from now on, also where they were moved, or where "
            "another platform has used them since.",
        ),
    ] = False,
    store_endpoint: Annotated[
        str,
        typer.Option(
            envvar="BIOSEGMENT_STORE_ENDPOINT",
            help="Address of an S3-compatible server.  [default: AWS_ENDPOINT_URL, or Amazon's]",
        ),
    ] = "",
    store_region: Annotated[
        str,
        typer.Option(
            envvar="BIOSEGMENT_STORE_REGION",
            help="Region of the bucket.  [default: AWS_REGION, or found out]",
        ),
    ] = "",
) -> None:
    """Run the whole platform on this machine until Ctrl-C."""
    from biosegment.cli.up.command import run

    run(
        session_of(ctx),
        home=home,
        host=host,
        gateway_port=gateway_port,
        import_roots=import_root,
        export_roots=export_root,
        log_level=log_level,
        log_megabytes=log_megabytes,
        store=store,
        take_store=take_store,
        store_endpoint=store_endpoint,
        store_region=store_region,
    )


def status(ctx: typer.Context) -> None:
    """Show how each service of the running platform answers, and whether the token is accepted.

    Exit status: 0 all is well, 1 some service cannot be used, 3 no platform answers, 4 the token
    is refused.
    """
    from biosegment.cli.state import state_of

    session = session_of(ctx)
    with session.client() as client:
        answers = client.health()
        found = state_of(client, answers)
        gateway = client.connection.gateway_url
    values = {**answers, "token": found.token}
    show_values(session, {**values, "gateway": gateway} if gateway else values)
    if found.status:
        tell(f"Error: {found.advice}")
        raise typer.Exit(found.status)


def backup(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(help="Folder of the backup; one that it has already is renewed.")
    ],
    home: Annotated[
        Path | None,
        typer.Option(
            envvar="BIOSEGMENT_HOME",
            help="Folder of the platform, which may run.  [default: that of the connection file]",
        ),
    ] = None,
    store_endpoint: Annotated[
        str,
        typer.Option(
            envvar="BIOSEGMENT_STORE_ENDPOINT", help="As given to `up`, for arrays in a bucket."
        ),
    ] = "",
    store_region: Annotated[
        str,
        typer.Option(
            envvar="BIOSEGMENT_STORE_REGION", help="As given to `up`, for arrays in a bucket."
        ),
    ] = "",
) -> None:
    """Back up record, arrays and models of a platform, while it runs."""
    from biosegment.cli.backup.take import take
    from biosegment.cli.up.home import Home
    from biosegment.client.connection import default_home

    session = session_of(ctx)
    if home is None:
        home = session.connection_path.parent if session.connection_path else default_home()
    taken = take(Home(home), folder, endpoint=store_endpoint, region=store_region)
    show_values(
        session,
        {
            "backup": str(folder.absolute()),
            "time": taken.manifest.time,
            "annotations": taken.manifest.annotations,
            "files": taken.files,
            "bytes": taken.size,
            "copied_files": taken.fetched,
            "missing": list(taken.manifest.missing),
        },
    )
    if taken.manifest.missing:
        tell(
            "Error: The backup has all that the platform has, but the platform itself lacks "
            f"{', '.join(taken.manifest.missing)}, or it is damaged."
        )
        raise typer.Exit(1)


def restore(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder of the backup.")],
    home: Annotated[Path, typer.Option(help="New folder of the platform.")],
) -> None:
    """Make a new home of a backup."""
    from biosegment.cli.backup.restore import restore as real
    from biosegment.cli.up.home import Home

    made = Home(home)
    manifest = real(folder, made)
    show_values(
        session_of(ctx),
        {"home": str(made.folder), "time": manifest.time, "annotations": manifest.annotations},
    )
    tell(f"Start it with: biosegment up --home {made.folder}")


def demo(ctx: typer.Context) -> None:
    """Run the main job on a phantom or on your data, and write a report."""
    import typer.main

    from biosegment.cli.demo.command import demo as real

    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command()(real)
    command = typer.main.get_command(alone)
    with command.make_context("demo", list(ctx.args), parent=ctx.parent) as inner:
        command.invoke(inner)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(up)
    app.command()(status)
    app.command()(backup)
    app.command()(restore)
    app.command(context_settings=_FORWARD)(demo)
