"""What each kind of resource is called, how people name one, what lists and makes it."""

from dataclasses import dataclass

PROJECT = "projects/{}"
DATASET = "projects/{}/datasets/{}"
ANNOTATION = "projects/{}/datasets/{}/annotations/{}"
SEGMENTATION = "projects/{}/datasets/{}/segmentations/{}"
VOLUME = "projects/{}/volumes/{}"
LABEL_CLASS = "projects/{}/labelClasses/{}"
MODEL = "projects/{}/models/{}"
VERSION = "projects/{}/models/{}/versions/{}"
CAMPAIGN = "projects/{}/campaigns/{}"
ROUND = "projects/{}/campaigns/{}/rounds/{}"
PROPOSAL = "projects/{}/campaigns/{}/proposals/{}"
JOB = "projects/{}/jobs/{}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of resource in words.

    Attributes:
        what: In a word or two.
        example: A short name, as commands take it.
        list_command: The command that lists them; "{}" stands for the short name of the parent.
        make_command: The command that makes one; "" where people make none.
        numbered: Whether the last part of the name is a number.
    """

    what: str
    example: str
    list_command: str
    make_command: str = ""
    numbered: bool = False


KINDS = {
    PROJECT: Kind("project", "lab", "project list", "project create NAME"),
    DATASET: Kind("data set", "liver", "dataset list", "import FILE --dataset NAME"),
    ANNOTATION: Kind("annotation", "liver/7", "annotate log {}", numbered=True),
    SEGMENTATION: Kind("segmentation", "liver/mito-1", "segmentation list {}"),
    VOLUME: Kind("volume", "liver-raw", "volume list"),
    LABEL_CLASS: Kind("label class", "1", "class list", "class set VALUE NAME", numbered=True),
    MODEL: Kind("model", "mito", "model list", "model create NAME --class 0 --class 1"),
    VERSION: Kind("model version", "mito/3 or mito/latest", "model versions {}", numbered=True),
    CAMPAIGN: Kind("campaign", "c1", "campaign list", "campaign start NAME"),
    ROUND: Kind("round", "c1/2", "campaign show {}", numbered=True),
    PROPOSAL: Kind("proposal", "c1/3", "campaign proposals {}", numbered=True),
    JOB: Kind("job", "train-0123456789", "job list"),
}
"""Every kind by the pattern of its names."""

WHAT = {pattern.split("/")[-2]: kind.what for pattern, kind in KINDS.items()}
"""What a part of a name names, by the word before it: "datasets" gives "data set"."""
