"""campaign patches, skip, release; volume read: what is to be labelled, as files."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from biosegment.cli import parse
from biosegment.cli.commands.campaign import campaign_app
from biosegment.cli.commands.data import volume_app
from biosegment.cli.output import short, show, show_rows, show_values, tell, write_json
from biosegment.cli.session import Session, session_of
from biosegment.cli.waits import waiting_lines

if TYPE_CHECKING:
    from biosegment.cli.patches.send import Outcome

Claimant = Annotated[str | None, typer.Option(help="Who labels.  [default: your user name]")]
Proposal = Annotated[str, typer.Argument(help="The proposal (campaign/number).")]


@campaign_app.command("patches")
def patches(
    ctx: typer.Context,
    campaign: str,
    out: Annotated[Path, typer.Option(help="Folder to write, new or from an earlier call.")],
    claimant: Claimant = None,
    count: Annotated[int, typer.Option(min=1, max=1000, help="At most this many.")] = 10,
    hours: Annotated[
        float, typer.Option(min=0.1, max=24, help="How long nobody else is given them.")
    ] = 8.0,
    draft: Annotated[
        bool, typer.Option("--draft", help="Fill the masks with what the model predicts.")
    ] = False,
) -> None:
    """Borrow proposals as files: pictures to look at, masks to paint in.

    Send back what you painted with: biosegment annotate commit DIR
    """
    from biosegment.cli.patches import fetch

    session = session_of(ctx)
    who = claimant or getpass.getuser()
    with session.client() as client:
        found = client.campaign(campaign)
        classes = fetch.classes_of(client, found)
        version = fetch.newest_version(client, found) if draft else ""
        folder = fetch.open_folder(out, found, who)
        answer = client.claim_or_why(
            campaign, folder.claimant, count=count, lease_seconds=hours * 3600
        )
        made = fetch.write(client, folder, answer.proposals, classes, version)
    rows = [
        {
            "proposal": short(patch.proposal, session.project),
            "box": str(patch.box).strip("[]").replace(" ", ""),
            "mask": str(out / patch.mask),
        }
        for patch in made
    ]
    if session.as_json:
        write_json(rows)
        return
    if not answer.proposals:
        why = "\n".join(waiting_lines(answer.waiting))
        tell(f"There is nothing to label now. {why}")
        return
    show_rows(rows, empty=f"All {len(answer.proposals)} that you hold are in {out} already.")
    tell(
        f"Lent to {folder.claimant} for {hours:g} h; {out / 'README.txt'} says how to paint. Then: "
        f"biosegment annotate commit {out}"
    )


@campaign_app.command("skip")
def skip(ctx: typer.Context, proposal: Proposal, claimant: Claimant = None) -> None:
    """Pass a proposal over for good, such as one that nobody can label."""
    session = session_of(ctx)
    with session.client() as client:
        show(session, client.skip(proposal, claimant or getpass.getuser()))


@campaign_app.command("release")
def release(ctx: typer.Context, proposal: Proposal, claimant: Claimant = None) -> None:
    """Give a claimed proposal back, for somebody else to label."""
    session = session_of(ctx)
    with session.client() as client:
        show(session, client.release(proposal, claimant or getpass.getuser()))


def commit_folder(
    session: Session,
    path: Path,
    *,
    label_map: list[str] | None,
    claimant: str | None,
    drafts: bool,
) -> None:
    """Sends what was painted in a folder of patches, and says what became of each.

    Raises:
        typer.Exit: Something could not be sent.
    """
    from biosegment.cli.patches.folder import Folder
    from biosegment.cli.patches.send import FAILED, SENT, send

    folder = Folder.load(path)
    with session.client() as client:
        outcomes = send(
            client, folder, label_map=label_map or (), claimant=claimant or "", drafts=drafts
        )
    rows = [_row(session, outcome) for outcome in outcomes]
    if session.as_json:
        write_json(rows)
    else:
        show_rows(rows, empty=f"There are no patches in {path}.")
    sent, failed = (sum(each.result == kind for each in outcomes) for kind in (SENT, FAILED))
    tell(f"{sent} of {len(outcomes)} patches sent, {failed} failed.")
    if failed:
        raise typer.Exit(1)


def _row(session: Session, outcome: "Outcome") -> dict[str, str]:
    return {
        "proposal": short(outcome.patch.proposal, session.project),
        "mask": outcome.patch.mask,
        "result": outcome.result,
        "annotation": short(outcome.annotation, session.project),
        "message": outcome.message,
    }


@volume_app.command("read")
def read(
    ctx: typer.Context,
    volume: Annotated[
        str, typer.Argument(help="A volume (liver-raw) or a segmentation (liver/mito-1).")
    ],
    box: Annotated[str, typer.Option(help=parse.BOX_HELP)],
    out: Annotated[
        Path, typer.Option(help="File to write: .npy or .tif for the values, .png to look at.")
    ],
) -> None:
    """Write a box of a volume into a file."""
    from biosegment.cli import files
    from biosegment.client import names

    session = session_of(ctx)
    place = parse.box(box)
    png = out.suffix.lower() == ".png"
    files.check_target(out, png=True)
    if png and place.shape[0] > 1:
        raise typer.BadParameter("A .png holds one section; take one, or write a .tif.")
    with session.client() as client:
        name = volume if "/" in volume else names.expand(names.VOLUME, volume, client.project)
        array = client.read(name, place)
        colors = {found.value: found.color for found in client.label_classes()} if png else {}
        labels = png and _is_labels(client.volume(name).kind)
    if png:
        from biosegment.cli.patches import picture

        files.save_png(out, picture.shown(array, colors if labels else None))
    else:
        files.save(out, array)
    show_values(
        session, {"path": str(out), "shape": list(array.shape), "data_type": str(array.dtype)}
    )


def _is_labels(kind: int) -> bool:
    from biosegment.v1.storage_pb2 import VOLUME_KIND_LABELS

    return kind == VOLUME_KIND_LABELS


def register(_app: typer.Typer) -> None:
    """Adds the commands, which belong to groups that others add."""
