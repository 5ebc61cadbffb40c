"""annotate: commit, undo, log."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biosegment.cli import parse
from biosegment.cli.commands.patches import commit_folder
from biosegment.cli.output import answer, as_dict, show_all, tell, write_json
from biosegment.cli.session import session_of
from biosegment.client import names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from biosegment.client import Box, Client
    from biosegment.v1.annotations_pb2 import Annotation

annotate_app = typer.Typer(no_args_is_help=True, help="The annotation log.")


@annotate_app.command("commit")
def commit(
    ctx: typer.Context,
    dataset: Annotated[
        str,
        typer.Argument(help="The data set; or, alone, a folder made by `campaign patches`."),
    ],
    mask: Annotated[
        Path | None,
        typer.Argument(
            help="A .npy or .tif file, axes ZYX: class values, 254 = cleared, 255 = not labelled."
        ),
    ] = None,
    label_map: parse.LabelMap = None,
    box: Annotated[str | None, typer.Option(help=f"Voxels of the mask, {parse.BOX_HELP}")] = None,
    proposal: Annotated[
        str | None, typer.Option(help="The proposal that it answers (campaign/number).")
    ] = None,
    claimant: Annotated[
        str | None, typer.Option(help="Who claimed the proposal.  [default: your user name]")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="Time spent painting.")] = 0.0,
    drafts: Annotated[
        bool, typer.Option("--drafts", help="Of a folder: drafts that nobody changed, too.")
    ] = False,
) -> None:
    """Commit a mask for a box, or as the answer to a proposal; or all that is painted in a folder.

    A folder is one that `biosegment campaign patches` made. What was sent already is not sent
    again.
    """
    from biosegment.cli.files import load_mask
    from biosegment.client.label_values import AS_PAINTED

    session = session_of(ctx)
    if mask is None:
        if box is not None or proposal is not None or seconds:
            raise typer.BadParameter(
                "--box, --proposal and --seconds go with a data set and a mask."
            )
        commit_folder(session, Path(dataset), label_map=label_map, claimant=claimant, drafts=drafts)
        return
    if drafts:
        raise typer.BadParameter("--drafts goes with a folder alone.")
    if (box is None) == (proposal is None):
        raise typer.BadParameter("Give either --box or --proposal.")
    given = parse.optional_box(box)
    array = load_mask(mask)
    with session.client() as client:
        place = given or _box_of(client, proposal or "")
        values = client.as_mask(dataset, array, label_map=label_map or (), source=str(mask))
        commits = client.commit(
            dataset,
            place,
            values,
            label_map=AS_PAINTED,
            proposal=proposal,
            claimant=(claimant or getpass.getuser()) if proposal else "",
            seconds=seconds,
            tool="cli",
        )
    if session.as_json:
        write_json([as_dict(each) for each in commits])
    for each in () if session.as_json else commits:
        typer.echo(_sentence(each))
    _tell_left(values)


def _sentence(commit: "Annotation") -> str:
    from biosegment.client import Box

    classes = ", ".join(map(str, commit.classes)) or "none"
    return (
        f"Committed {names.short(commit.name)}: {commit.labelled_voxels:,} labelled voxels in "
        f"{Box.from_proto(commit.box)}, classes {classes}."
    )


def _tell_left(values: "NDArray[Any]") -> None:
    """What a person may not have meant: voxels that got no label."""
    from biosegment.client.arrays import CLEARED, NOT_LABELLED

    for value, what in ((NOT_LABELLED, "were left as they were"), (CLEARED, "lost their labels")):
        voxels = int((values == value).sum())
        if voxels:
            tell(f"{voxels} of {values.size} voxels hold {value} and {what}.")


def _box_of(client: "Client", proposal: str) -> "Box":
    from biosegment.client import Box

    full = names.expand(names.PROPOSAL, proposal, client.project)
    project, campaign, _ = names.parse(names.PROPOSAL, full)
    for known in client.proposals(names.CAMPAIGN.format(project, campaign), limit=100_000):
        if known.name == full:
            return Box.from_proto(known.box)
    raise names.not_found(names.PROPOSAL, full)


@annotate_app.command("undo")
def undo(
    ctx: typer.Context,
    annotation: Annotated[str, typer.Argument(help="dataset/revision.")],
) -> None:
    """Undo a commit, by another commit."""
    session = session_of(ctx)
    with session.client() as client:
        made = client.undo(annotation)
    answer(session, made, f"Undid {annotation} by {names.short(made.name)}.")


@annotate_app.command("log")
def log(
    ctx: typer.Context,
    dataset: str,
    after: Annotated[int, typer.Option(min=0, help="Only revisions after this one.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most this many.")] = 1000,
) -> None:
    """List the commits of a data set."""
    session = session_of(ctx)
    with session.client() as client:
        commits = client.annotations(dataset, after=after, limit=limit)
    columns = ["revision", "create_time", "author", "source_tool", "box", "classes"]
    show_all(session, commits, [*columns, "labelled_voxels", "undone_annotation"])


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(annotate_app, name="annotate")
