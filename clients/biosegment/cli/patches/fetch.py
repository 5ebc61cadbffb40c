"""Proposals into a folder: pictures to look at, and masks to paint in."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.cli.files import save_grey, save_mask
from biosegment.cli.patches import picture
from biosegment.cli.patches.folder import NOTE, Folder, Patch, digest
from biosegment.client import Box, Client, names
from biosegment.client.arrays import NOT_LABELLED
from biosegment.client.errors import AlreadyExistsError, FailedPreconditionError, NotFoundError
from biosegment.client.geometry import shape_of
from biosegment.v1.campaigns_pb2 import Campaign, Proposal
from biosegment.v1.registry_pb2 import LabelClass


def open_folder(path: Path, campaign: Campaign, claimant: str) -> Folder:
    """The folder, made where there is none.

    Raises:
        AlreadyExistsError: It holds something else.
        NotFoundError: The folder above it does not exist.
    """
    if (path / NOTE).is_file():
        found = Folder.load(path)
        if found.campaign != campaign.name:
            raise AlreadyExistsError(
                f"{path} holds patches of {found.campaign}; choose another folder.", path=path
            )
        return found
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise AlreadyExistsError(
            f"{path} exists and holds no patches; choose an empty or a new folder.", path=path
        )
    if not path.absolute().parent.is_dir():
        raise NotFoundError(f"There is no folder {path.absolute().parent}.", path=path)
    path.mkdir(exist_ok=True)
    return Folder(path, campaign.name, campaign.dataset, claimant)


def classes_of(client: Client, campaign: Campaign) -> list[LabelClass]:
    """The label classes that the campaign's model tells apart."""
    wanted = set(client.model(campaign.model).classes)
    return [found for found in client.label_classes() if found.value in wanted]


def newest_version(client: Client, campaign: Campaign) -> str:
    """The version whose predictions serve as drafts.

    Raises:
        FailedPreconditionError: There is none yet.
    """
    try:
        return client.version(f"{campaign.model}/versions/latest").name
    except NotFoundError:
        raise FailedPreconditionError(
            f"{campaign.model} has no version yet that could make drafts; leave --draft away.",
            name=campaign.model,
        ) from None


def write(
    client: Client,
    folder: Folder,
    proposals: Iterable[Proposal],
    classes: Sequence[LabelClass],
    draft: str,
) -> list[Patch]:
    """Writes the files of proposals that the folder does not have yet.

    Args:
        client: To read voxels with.
        folder: Where to.
        proposals: Claimed by the folder's claimant.
        classes: Of the campaign.
        draft: The version whose prediction masks begin with; "" for empty ones.

    Returns:
        Those written.
    """
    colors = {found.value: found.color for found in classes}
    shape = shape_of(client.dataset(folder.dataset).shape)
    made = []
    for proposal in proposals:
        if proposal.name in folder.patches:
            continue
        box = Box.from_proto(proposal.box)
        mask: NDArray[Any] = np.full(box.shape, NOT_LABELLED, np.uint8)
        if draft:
            mask = client.predict(draft, folder.dataset, box)
        number = names.parse(names.PROPOSAL, proposal.name)[2]
        patch = Patch(
            proposal.name,
            box.start,
            box.stop,
            f"{number}-image.tif",
            f"{number}-around.tif",
            f"{number}-mask.tif",
            digest(mask),
            draft,
        )
        _write_pictures(client, folder, patch, shape)
        save_mask(folder.path / patch.mask, mask, picture.palette(colors))
        folder.put(patch)
        made.append(patch)
    (folder.path / "README.txt").write_text(_readme(folder, classes))
    return made


def _write_pictures(
    client: Client, folder: Folder, patch: Patch, shape: tuple[int, int, int]
) -> None:
    box = patch.box
    around = _around(box, shape)
    raw = client.read(folder.dataset, around)
    seen = picture.grey(raw, *picture.limits(raw))
    inner = box.relative_to(around.start)
    save_grey(folder.path / patch.image, seen[inner.slices])
    save_grey(folder.path / patch.around, picture.framed(seen, inner))


def _around(box: Box, shape: tuple[int, int, int]) -> Box:
    """The box with half its rows and columns more on every side, as far as there are any."""
    start, stop = list(box.start), list(box.stop)
    for axis in (1, 2):
        margin = box.shape[axis] // 2
        start[axis] = max(0, start[axis] - margin)
        stop[axis] = min(shape[axis], stop[axis] + margin)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _readme(folder: Folder, classes: Sequence[LabelClass]) -> str:
    listed = "\n".join(f"  {each.value:>3}  {each.display_name} ({each.color})" for each in classes)
    rows = "\n".join(
        f"  {patch.mask}  answers {patch.proposal.rpartition('/')[2]}, voxels {patch.box}"
        for patch in folder.patches.values()
    )
    return f"""Patches of {folder.campaign}, for {folder.claimant} to label.

Each patch has three files:
  N-image.tif   the patch, with its contrast stretched for the eye
  N-around.tif  the same with its surroundings; the frame is the patch
  N-mask.tif    what you paint in, pixel for pixel over N-image.tif

Paint these numbers into N-mask.tif and save it under its own name, as an 8-bit image:
{listed}
  255  not labelled: nothing is said of these voxels

Paint background (0) too: what is left at 255 teaches nothing. A program that cannot paint numbers
but black and white is fine for one class: see --map below.

Then send all that you painted, as often as you like; nothing is sent twice:
  biosegment annotate commit {folder.path}
If your masks are 0 and 255 (binary masks of Fiji), add --map 255=1.

{rows}
"""
