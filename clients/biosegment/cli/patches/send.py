"""What was painted in a folder of patches, back to the annotation log; each patch once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from biosegment.cli.files import load_mask
from biosegment.cli.patches.folder import Folder, Patch, digest
from biosegment.client import Client
from biosegment.client.errors import DomainError, UnauthenticatedError, UnavailableError
from biosegment.client.label_values import AS_PAINTED
from biosegment.v1 import campaigns_pb2 as pb

SENT, SKIPPED, FAILED = "sent", "skipped", "failed"
_UNANSWERED = (pb.PROPOSAL_STATE_OPEN, pb.PROPOSAL_STATE_CLAIMED)
_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a patch.

    Attributes:
        patch: It.
        result: SENT, SKIPPED or FAILED.
        annotation: The commit that answers it; "" where there is none.
        message: Why, in words.
    """

    patch: Patch
    result: str
    annotation: str
    message: str


def send(
    client: Client,
    folder: Folder,
    *,
    label_map: Sequence[str] = (),
    claimant: str = "",
    drafts: bool = False,
    told: Callable[[Outcome], None] = lambda _outcome: None,
) -> list[Outcome]:
    """Sends the masks that somebody painted in, and have not been sent.

    A patch that cannot be sent does not keep the others back.

    Args:
        client: To send with.
        folder: The folder; what was sent is noted in it at once.
        label_map: Rules for numbers that mean something else, as in ``Client.as_mask``.
        claimant: Who painted; the folder's claimant by default.
        drafts: Send drafts that nobody changed as well.
        told: Called with each outcome.

    Raises:
        UnavailableError: The platform is away.
        UnauthenticatedError: The token is wrong.
    """
    proposals = {found.name: found for found in client.proposals(folder.campaign, limit=_ALL)}
    outcomes = []
    for patch in list(folder.patches.values()):
        try:
            outcome = _one(
                client,
                folder,
                patch,
                proposals.get(patch.proposal, pb.Proposal()),
                label_map,
                claimant or folder.claimant,
                drafts=drafts,
            )
        except (UnavailableError, UnauthenticatedError):
            raise
        except DomainError as error:
            outcome = Outcome(patch, FAILED, "", error.message)
        outcomes.append(outcome)
        told(outcome)
    return outcomes


def _one(
    client: Client,
    folder: Folder,
    patch: Patch,
    proposal: pb.Proposal,
    label_map: Sequence[str],
    claimant: str,
    *,
    drafts: bool,
) -> Outcome:
    path = folder.path / patch.mask
    if not patch.sent and proposal.state == pb.PROPOSAL_STATE_DONE:
        # Sent by a call that was cut off before it could note so, or answered elsewhere.
        folder.sent(patch, proposal.annotation, "")
        return Outcome(patch, SKIPPED, proposal.annotation, "was answered already")
    if proposal.state == pb.PROPOSAL_STATE_SKIPPED:
        return Outcome(patch, SKIPPED, "", "was passed over")
    array = load_mask(path)
    mask = digest(array)
    # A proposal whose answer was undone is open again, and may be answered anew.
    if patch.sent and proposal.state not in _UNANSWERED:
        message = "was sent already"
        if patch.sent_mask and patch.sent_mask != mask:
            box = str(patch.box).strip("[]").replace(" ", "")
            message += (
                ", and has changed since; send the change with: biosegment annotate commit "
                f"{folder.dataset.rpartition('/')[2]} {path} --box {box}"
            )
        return Outcome(patch, SKIPPED, patch.sent, message)
    if mask == patch.written and not (drafts and patch.draft):
        kept = "a draft that nobody changed; --drafts sends it" if patch.draft else "not painted in"
        return Outcome(patch, SKIPPED, "", kept)
    values = client.as_mask(folder.dataset, array, label_map=label_map, source=str(path))
    commits = client.commit(
        folder.dataset,
        patch.box,
        values,
        label_map=AS_PAINTED,
        proposal=patch.proposal,
        claimant=claimant,
        tool="cli-patches",
    )
    folder.sent(patch, commits[-1].name, mask)
    voxels = sum(commit.labelled_voxels for commit in commits)
    return Outcome(patch, SENT, commits[-1].name, f"{voxels} of {values.size} voxels labelled")
