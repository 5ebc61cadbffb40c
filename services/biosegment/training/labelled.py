"""What is to be said of labels that do not hold every class of a model. Free of torch."""

from collections.abc import Mapping

from biosegment.client.errors import FailedPreconditionError
from biosegment.v1 import jobs_pb2


def check(
    counts: Mapping[int, int], spec: jobs_pb2.TrainSpec, names: Mapping[int, str]
) -> list[str]:
    """What whoever uses the version should know of classes without labels.

    Labels of one class alone are refused: all that a network learns from them is to answer with
    that class everywhere. A version that is fine-tuned knows the others already, and a round of a
    campaign has more patches to come, so there it is told.

    Args:
        counts: Labelled voxels, or any other measure of them, of every class of the model by value.
        spec: The training, its revision pinned.
        names: What classes are called, by value.

    Raises:
        FailedPreconditionError: Only one class is labelled.
    """
    missing = [value for value, voxels in counts.items() if not voxels]
    present = [value for value, voxels in counts.items() if voxels]
    if not missing:
        return []
    listed = [_called(value, names) for value in missing]
    if len(present) == 1 and not spec.base_version and not spec.round:
        raise FailedPreconditionError(
            f"Revision {spec.revision} of {spec.dataset} labels voxels of "
            f"{_called(present[0], names)} alone, so there is nothing to tell apart: every voxel "
            f"would come out as that. Label some voxels of {' or '.join(listed)} too.",
            name=spec.dataset,
        )
    return [
        (
            f"No voxel of {' or '.join(listed)} is labelled in revision {spec.revision} of "
            f"{spec.dataset}: this training teaches nothing about it, and where the model finds it "
            "means little. Label some voxels of it and train again."
        )
    ]


def not_held_out(patches: int, fewest: int) -> str:
    """What is to be said where patches were to be held out, and none could be.

    Args:
        patches: Labelled patches there are.
        fewest: That any are held out of.
    """
    needed = (
        f"that takes at least {fewest} labelled patches, and there were {patches}"
        if patches < fewest
        else "that takes two patches with the same foreground class"
    )
    return (
        f"Nothing was held out: {needed}. The training was not measured and did not stop early. "
        "Label more patches, or leave --hold-out away."
    )


def _called(value: int, names: Mapping[int, str]) -> str:
    return f"class {value} ({names[value]})" if names.get(value) else f"class {value}"
