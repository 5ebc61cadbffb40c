"""instances: find them, and fetch their table."""

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from biosegment.cli import parse
from biosegment.cli.commands.data import Wait
from biosegment.cli.follow import finish
from biosegment.cli.output import show_values
from biosegment.cli.session import session_of

_FIND = "find"


class _FindByDefault(typer.core.TyperGroup):
    """Reads `instances SOURCE …` as `instances find SOURCE …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = [_FIND, *args]
        return super().parse_args(ctx, args)


instances_app = typer.Typer(
    cls=_FindByDefault,
    no_args_is_help=True,
    help="Instances: numbered objects of a segmentation, and their measurements. "
    "`instances SOURCE` is short for `instances find SOURCE`.",
)


@instances_app.command(_FIND)
def find(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(help="dataset/segmentation, or a volume of class values.")
    ],
    name: Annotated[
        str | None,
        typer.Option(help="Name of the instance volume.  [default: the source's, with -inst]"),
    ] = None,
    classes: Annotated[
        list[int] | None,
        typer.Option("--class", min=1, max=253, help="Only this class; may be repeated."),
    ] = None,
    connectivity: Annotated[
        int, typer.Option(help="Neighbours of a voxel: 6 (faces), 18 (edges) or 26 (corners).")
    ] = 26,
    min_size: Annotated[
        int, typer.Option(min=0, help="Instances of fewer voxels become background.")
    ] = 0,
    min_volume: Annotated[float, typer.Option(min=0, help="The same in cubic micrometres.")] = 0.0,
    fill_holes: Annotated[
        bool, typer.Option("--fill-holes", help="Give enclosed background to what is around it.")
    ] = False,
    watershed: Annotated[
        float, typer.Option(min=0, help="Cut at necks narrower than this, in nanometres.")
    ] = 0.0,
    dataset: Annotated[
        str | None,
        typer.Option(help="Whose metadata go into the table.  [default: the source's]"),
    ] = None,
    block: Annotated[
        str | None, typer.Option(help=f"Extent of a block, {parse.SHAPE_HELP}")
    ] = None,
    wait: Wait = True,
) -> None:
    """Tell the instances of a segmentation apart, number and measure them."""
    session = session_of(ctx)
    extent = parse.shape(block)
    with session.client() as client:
        job = client.instances(
            source,
            volume=name,
            dataset=dataset,
            classes=classes or (),
            connectivity=connectivity,
            min_voxels=min_size,
            min_volume_um3=min_volume,
            fill_holes=fill_holes,
            split_nm=watershed,
            block=extent,
        )
        finish(session, client, job, wait=wait)


@instances_app.command("table")
def table(
    ctx: typer.Context,
    volume: Annotated[str, typer.Argument(help="The instance volume.")],
    out: Annotated[Path, typer.Option(help="File to write, .csv or .parquet.")],
) -> None:
    """Fetch the measurements of an instance volume, one row for each instance."""
    from biosegment.cli import files

    session = session_of(ctx)
    kind = files.check_table(out)
    with session.client() as client:
        data = client.instance_table(volume, format=kind)
    out.write_bytes(data)
    show_values(session, {"path": str(out), "size_bytes": len(data)})


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(instances_app, name="instances")
