"""project, import, import-labels, dataset, volume, class, export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biosegment.cli import parse, units
from biosegment.cli.follow import finish
from biosegment.cli.output import answer, short, show, show_all, show_rows, tell
from biosegment.cli.session import Session, session_of
from biosegment.client import names

if TYPE_CHECKING:
    from biosegment.v1.storage_pb2 import Volume

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
segmentation_app = typer.Typer(
    no_args_is_help=True, help="Segmentations: model versions applied to whole data sets."
)
class_app = typer.Typer(no_args_is_help=True, help="Label classes of the project.")


@project_app.command("create")
def project_create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help='a-z, 0-9, "-" and "_".')],
    display_name: Annotated[str, typer.Option(help="For people.")] = "",
) -> None:
    """Make a project."""
    session = session_of(ctx)
    with session.client() as client:
        made = client.create_project(name, display_name=display_name)
    answer(session, made, f"Made the project {name}. Name it with --project {name}.")


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
    volume: Annotated[str, typer.Argument(help="A volume, or dataset/segmentation.")],
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
        found = client.datasets()
    if session.as_json:
        show_all(session, found, [])
        return
    rows = [
        {
            "name": short(dataset.name, session.project),
            "extent": units.extent(dataset.shape),
            "voxel size": units.voxels(dataset.voxel_size),
            "annotations": str(dataset.revision),
            "made": dataset.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M UTC"),
            "reference labels": " ".join(map(names.short, dataset.reference_volumes)),
        }
        for dataset in found
    ]
    show_rows(rows, empty="There are none yet: biosegment import FILE --dataset NAME")


@dataset_app.command("show")
def dataset_show(ctx: typer.Context, dataset: str) -> None:
    """Show a data set."""
    session = session_of(ctx)
    with session.client() as client:
        show(session, client.dataset(dataset))


@volume_app.command("list")
def volume_list(ctx: typer.Context) -> None:
    """List the volumes of the project; one in the state writing is not complete."""
    session = session_of(ctx)
    with session.client() as client:
        found = client.volumes()
    if session.as_json:
        show_all(session, found, [])
        return
    show_rows([_volume_row(session, volume) for volume in found])


def _volume_row(session: Session, volume: "Volume") -> dict[str, str]:
    from biosegment.v1.storage_pb2 import VolumeKind, VolumeState

    shape = volume.levels[0].shape
    held = shape.z * shape.y * shape.x * max(volume.channels, 1)
    return {
        "name": short(volume.name, session.project),
        "kind": VolumeKind.Name(volume.kind).removeprefix("VOLUME_KIND_").lower(),
        "state": VolumeState.Name(volume.state).removeprefix("VOLUME_STATE_").lower(),
        "extent": units.extent(shape),
        "voxel size": units.voxels(volume.voxel_size),
        "type": units.data_type(volume.data_type),
        "voxels take": units.size(held * units.voxel_bytes(volume.data_type)),
    }


@volume_app.command("delete")
def volume_delete(ctx: typer.Context, volume: str) -> None:
    """Remove a volume that no data set and no segmentation needs."""
    session = session_of(ctx)
    with session.client() as client:
        client.delete_volume(volume)
    tell(f"Deleted {volume}.")


@segmentation_app.command("list")
def segmentation_list(ctx: typer.Context, dataset: str) -> None:
    """List the segmentations of a data set, newest first."""
    session = session_of(ctx)
    with session.client() as client:
        columns = ["name", "version", "complete", "create_time", "volume"]
        show_all(session, client.segmentations(dataset), columns)


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
        made = client.put_label_class(value, name, color=color, ontology_term=term)
    means = f"{made.display_name}, {made.color}"
    means += f", {made.ontology_term}" if made.ontology_term else ""
    answer(session, made, f"Class {value} is {means}.")


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
    app.add_typer(segmentation_app, name="segmentation")
    app.add_typer(class_app, name="class")
    app.command("export")(export)
