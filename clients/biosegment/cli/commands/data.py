"""project, import, import-labels, dataset, volume, class, export."""

from pathlib import Path
from typing import Annotated

import typer

from biosegment.cli import parse
from biosegment.cli.follow import finish
from biosegment.cli.output import show, show_all, tell
from biosegment.cli.session import session_of

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the job, or only start it.")]

Axes = Annotated[
    str,
    typer.Option(
        help="Axes of the pages; ZYX takes every page as a section.  [default: as the file says]",
        show_default=False,
    ),
]
Image = Annotated[
    int,
    typer.Option(
        min=0, help="Which stack of a file that holds several, from 1.", show_default=False
    ),
]
Gaps = Annotated[
    str,
    typer.Option(
        help="Where numbers are missing in a folder: refuse, close (go on without) or fill (with "
        "empty sections)."
    ),
]
Files = Annotated[
    str,
    typer.Option(
        help='Which files of a folder are meant, such as "slice_*.tif".  [default: all]',
        show_default=False,
    ),
]

project_app = typer.Typer(no_args_is_help=True, help="Projects: people and their data sets.")
dataset_app = typer.Typer(no_args_is_help=True, help="Data sets: raw volumes with metadata.")
volume_app = typer.Typer(no_args_is_help=True, help="Volumes: the arrays in the store.")
class_app = typer.Typer(no_args_is_help=True, help="Label classes of the project.")


@project_app.command("create")
def project_create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help='a-z, 0-9 and "-".')],
    display_name: Annotated[str, typer.Option(help="For people.")] = "",
) -> None:
    """Make a project."""
    session = session_of(ctx)
    with session.client() as client:
        show(session, client.create_project(name, display_name=display_name))


@project_app.command("list")
def project_list(ctx: typer.Context) -> None:
    """List every project."""
    session = session_of(ctx)
    with session.client() as client:
        show_all(session, client.projects(), ["name", "display_name", "create_time"])


def import_images(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(help="A TIFF file, or a folder of TIFF files.")],
    dataset: Annotated[str, typer.Option(help="Name of the data set to make.")],
    voxel_size: Annotated[
        str | None,
        typer.Option(help="z,y,x in nanometres.  [default: as the file says]"),
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option("--meta", help="key=value, such as organism=mouse; may be repeated."),
    ] = None,
    volume: Annotated[str | None, typer.Option(help="Name of the raw volume.")] = None,
    axes: Axes = "",
    image: Image = 0,
    gaps: Gaps = "refuse",
    files: Files = "",
    wait: Wait = True,
) -> None:
    """Import an image stack as a new data set."""
    session = session_of(ctx)
    size, facts = parse.voxel_size(voxel_size), parse.pairs(metadata)
    with session.client() as client:
        job = client.import_volume(
            path,
            dataset=dataset,
            voxel_size=size,
            metadata=facts,
            volume=volume,
            axes=axes,
            image=image,
            gaps=gaps,
            files=files,
            own_file=True,
        )
        finish(session, client, job, wait=wait)


def import_labels(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(help="A TIFF file, or a folder of TIFF files.")],
    dataset: Annotated[str, typer.Option(help="The data set that the labels belong to.")],
    volume: Annotated[str | None, typer.Option(help="Name of the label volume.")] = None,
    label_map: parse.LabelMap = None,
    axes: Axes = "",
    image: Image = 0,
    gaps: Gaps = "refuse",
    files: Files = "",
    wait: Wait = True,
) -> None:
    """Import reference labels of a data set."""
    session = session_of(ctx)
    with session.client() as client:
        job = client.import_labels(
            path,
            dataset=dataset,
            volume=volume,
            label_map=label_map or (),
            axes=axes,
            image=image,
            gaps=gaps,
            files=files,
            own_file=True,
        )
        finish(session, client, job, wait=wait)


def export(
    ctx: typer.Context,
    volume: Annotated[str, typer.Argument(help="The volume.")],
    path: Annotated[Path, typer.Argument(help="Where to; must not exist.")],
    kind: Annotated[str, typer.Option("--format", help="tiff or ome-zarr.")] = "tiff",
    wait: Wait = True,
) -> None:
    """Export a volume to files."""
    session = session_of(ctx)
    with session.client() as client:
        finish(session, client, client.export(volume, path, format=kind), wait=wait)


@dataset_app.command("list")
def dataset_list(ctx: typer.Context) -> None:
    """List the data sets of the project."""
    session = session_of(ctx)
    with session.client() as client:
        show_all(session, client.datasets(), ["name", "shape", "voxel_size", "revision"])


@dataset_app.command("show")
def dataset_show(ctx: typer.Context, dataset: str) -> None:
    """Show a data set."""
    session = session_of(ctx)
    with session.client() as client:
        show(session, client.dataset(dataset))


@volume_app.command("list")
def volume_list(ctx: typer.Context) -> None:
    """List the volumes of the project; one that is WRITING is not complete."""
    session = session_of(ctx)
    with session.client() as client:
        show_all(session, client.volumes(), ["name", "kind", "state", "data_type", "voxel_size"])


@volume_app.command("delete")
def volume_delete(ctx: typer.Context, volume: str) -> None:
    """Remove a volume that no data set and no segmentation needs."""
    session = session_of(ctx)
    with session.client() as client:
        client.delete_volume(volume)
    tell(f"Deleted {volume}.")


@class_app.command("set")
def class_set(
    ctx: typer.Context,
    value: Annotated[int, typer.Argument(min=0, max=253, help="Value in masks; 0 is background.")],
    name: Annotated[str | None, typer.Argument(help="For people.")] = None,
    color: Annotated[str | None, typer.Option(help="#rrggbb.")] = None,
    term: Annotated[str | None, typer.Option(help="Ontology term, such as GO:0005739.")] = None,
) -> None:
    """Make a label class, or change it: what is not given stays as it is."""
    session = session_of(ctx)
    with session.client() as client:
        show(session, client.put_label_class(value, name, color=color, ontology_term=term))


@class_app.command("list")
def class_list(ctx: typer.Context) -> None:
    """List the label classes of the project."""
    session = session_of(ctx)
    with session.client() as client:
        columns = ["value", "display_name", "color", "ontology_term"]
        show_all(session, client.label_classes(), columns)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(project_app, name="project")
    app.command("import")(import_images)
    app.command("import-labels")(import_labels)
    app.add_typer(dataset_app, name="dataset")
    app.add_typer(volume_app, name="volume")
    app.add_typer(class_app, name="class")
    app.command("export")(export)
