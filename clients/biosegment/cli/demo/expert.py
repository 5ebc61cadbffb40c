"""A simulated expert: answers proposals with the truth, through the API that people's tools use."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biosegment.client import Client
from biosegment.client.geometry import Box
from biosegment.client.label_values import AS_PAINTED

CLAIMANT = "simulated-expert"
_LOOK_SECONDS, _STROKE_SECONDS = 3.0, 6.0


@dataclass(frozen=True, slots=True)
class Expert:
    """Knows the truth and nothing else.

    Attributes:
        client: The platform.
        campaign: Whose proposals are answered.
        dataset: Where the annotations go.
        truth: The volume with the reference labels.
    """

    client: Client
    campaign: str
    dataset: str
    truth: str

    def answer(self, count: int) -> int:
        """Labels up to so many open proposals; returns how many there were."""
        claimed = self.client.claim(self.campaign, CLAIMANT, count=count)
        for proposal in claimed:
            box = Box.from_proto(proposal.box)
            mask = np.asarray(self.client.read(self.truth, box), np.uint8)
            strokes = outlines(mask)
            self.client.commit(
                self.dataset,
                box,
                mask,
                proposal=proposal.name,
                claimant=CLAIMANT,
                # What a person would take: a look, and some seconds for each outline.
                seconds=_LOOK_SECONDS + _STROKE_SECONDS * strokes,
                strokes=strokes,
                tool="demo",
                label_map=AS_PAINTED,
            )
        return len(claimed)


def outlines(mask: NDArray[np.uint8]) -> int:
    """Outlines that a person draws for a mask, axes ZYX: its bodies, section by section."""
    from scipy.ndimage import label

    return sum(int(label(section)[1]) for section in mask != 0)
