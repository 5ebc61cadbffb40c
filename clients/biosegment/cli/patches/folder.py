"""A folder of patches: which files belong to which proposal, and what was sent of them."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.errors import InvalidArgumentError, NotFoundError
from biosegment.client.geometry import Box

NOTE = "patches.json"
"""The file that says what the others are."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A proposal and its files.

    Attributes:
        proposal: Its full name.
        start: First voxel, (z, y, x).
        stop: First voxel after.
        image: The patch as a picture.
        around: The same with its surroundings.
        mask: What is painted in, of the patch's extent.
        written: Digest of the mask as it was written, to tell whether somebody painted.
        draft: The version whose prediction the mask was filled with; "" for none.
        sent: The annotation that was made of it; "" before.
        sent_mask: Digest of the mask as it was sent.
    """

    proposal: str
    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    image: str
    around: str
    mask: str
    written: str
    draft: str = ""
    sent: str = ""
    sent_mask: str = ""

    @property
    def box(self) -> Box:
        """The voxels."""
        return Box(self.start, self.stop)


@dataclass(slots=True)
class Folder:
    """A folder of patches of one campaign.

    Attributes:
        path: Where it is.
        campaign: Full name of the campaign.
        dataset: Full name of its data set.
        claimant: Who paints.
        patches: By the names of their proposals.
    """

    path: Path
    campaign: str
    dataset: str
    claimant: str
    patches: dict[str, Patch] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "Folder":
        """Reads what a folder says of itself.

        Raises:
            NotFoundError: It is no such folder.
            InvalidArgumentError: Its note is damaged.
        """
        note = path / NOTE
        if not note.is_file():
            raise NotFoundError(
                f"{path} is no folder of patches: it has no {NOTE}. Make one with: "
                "biosegment campaign patches CAMPAIGN --out DIR",
                path=path,
            )
        try:
            told: dict[str, Any] = json.loads(note.read_text())
            patches = [
                Patch(**{**each, "start": _triple(each["start"]), "stop": _triple(each["stop"])})
                for each in told["patches"]
            ]
            campaign, dataset, claimant = (
                str(told[name]) for name in ("campaign", "dataset", "claimant")
            )
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise InvalidArgumentError(f"{note} is damaged: {error!r}.", path=note) from None
        known = {patch.proposal: patch for patch in patches}
        return cls(path, campaign, dataset, claimant, known)

    def put(self, patch: Patch) -> None:
        """Adds or changes a patch, on disk too."""
        self.patches[patch.proposal] = patch
        told = {
            "campaign": self.campaign,
            "dataset": self.dataset,
            "claimant": self.claimant,
            "patches": [asdict(each) for each in self.patches.values()],
        }
        # Whole or not at all: it is what keeps a patch from being sent twice.
        draft = self.path / f".{NOTE}.new"
        draft.write_text(json.dumps(told, indent=2) + "\n")
        draft.replace(self.path / NOTE)

    def sent(self, patch: Patch, annotation: str, mask: str) -> None:
        """Notes that a patch was sent."""
        self.put(replace(patch, sent=annotation, sent_mask=mask))


def digest(mask: NDArray[Any]) -> str:
    """What tells a mask from another, whatever type and compression it is stored with."""
    numbers = mask.astype(np.int64) if mask.dtype.kind in "biu" else mask
    return hashlib.sha256(str(mask.shape).encode() + numbers.tobytes()).hexdigest()


def _triple(values: list[int]) -> tuple[int, int, int]:
    z, y, x = (int(value) for value in values)
    return z, y, x
