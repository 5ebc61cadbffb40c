"""Predicted against reference labels, slab by slab."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.arrays import CLEARED
from biosegment.client.errors import FailedPreconditionError
from biosegment.client.geometry import ZYX, BlockGrid, Box
from biosegment.inference.child.predict import Predictor, predict
from biosegment.inference.child.session import opened
from biosegment.inference.child.tiles import input_box, usual_block
from biosegment.inference.forwards import Forwards
from biosegment.nets.metrics import Confusion
from biosegment.runtime.arrays import VolumeArray
from biosegment.runtime.child import ChildContext


def measure(
    predictor: Predictor,
    *,
    raw: Callable[[Box], NDArray[Any]],
    reference: Callable[[Box], NDArray[Any]],
    shape: ZYX,
    box: Box,
    check: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    block: ZYX | None = None,
    padding: Callable[[Box], NDArray[np.bool_] | None] = lambda _box: None,
) -> Confusion:
    """Counts how predictions agree with a reference.

    Args:
        predictor: The network.
        raw: Reads raw voxels of a box.
        reference: Reads class values of a box; 255 is left out, classes that the model does
            not know count as background.
        shape: Extent of both volumes.
        box: The voxels to compare.
        check: Called between forwards; may raise to stop.
        progress: Called with (voxels done, voxels in all).
        block: Extent of what is held in memory at a time; None chooses one for the network.
        padding: Tells which voxels of a box are padding, and so background.
    """
    counts = Confusion(predictor.classes)
    done = 0
    for part in BlockGrid(box, block or usual_block(predictor.module.footprint, shape)):
        truth = np.asarray(reference(part), np.uint8)
        if bool((truth < CLEARED).any()):
            around = input_box(part, shape, predictor.module.footprint)
            guess = predict(
                predictor, raw(around), origin=around.start, shape=shape, box=part, check=check
            )
            gone = padding(part)
            if gone is not None:
                guess[gone] = 0
            counts.update(guess, truth)
        check()
        done += part.voxels
        progress(done, box.voxels)
    return counts


def evaluate(
    context: ChildContext,
    *,
    connection: str,
    dataset: str,
    version: str,
    reference: str,
    box: Box | None,
    forwards: Forwards,
) -> tuple[dict[str, float], int, list[str]]:
    """Measures a model version; box None means everything.

    Returns:
        ``Confusion.figures``, the voxels compared, and what whoever uses the figures should know.

    Raises:
        FailedPreconditionError: The reference has another extent or type, or labels nothing.
        OutsideVolumeError: The box leaves the data set.
    """
    with opened(connection, dataset=dataset, version=version, forwards=forwards) as session:
        shape = session.raw.shape()
        truth = VolumeArray.open(session.stubs, reference).ready()
        if truth.shape() != shape or truth.dtype != np.uint8:
            raise FailedPreconditionError(
                f"{reference} cannot be compared with {dataset}: it holds {truth.dtype} of extent "
                f"{truth.shape()}, and uint8 of extent {shape} is needed."
            )
        box = (box or Box.of_shape(shape)).within(shape, dataset)
        counts = measure(
            session.predictor,
            raw=session.picture.read,
            padding=session.picture.padding,
            reference=truth.read,
            shape=shape,
            box=box,
            check=context.check,
            progress=lambda done, total: context.report(
                {"done": done, "total": total, "stage": "evaluate"}
            ),
        )
    if not counts.voxels:
        raise FailedPreconditionError(
            f"{reference} labels no voxel of {box}, so there is nothing to compare with."
        )
    return counts.figures(), counts.voxels, _told(counts, reference, version, box)


def _told(counts: Confusion, reference: str, version: str, box: Box) -> list[str]:
    """Where truth and model do not speak of the same classes."""
    told = []
    if counts.missing:
        told.append(
            f"{reference} holds no voxel of class {_listed(counts.missing)} in {box}: the figures "
            "do not say how well the model finds it, only whether it was found where it is not."
        )
    if counts.unknown:
        told.append(
            f"{reference} holds voxels of class {_listed(counts.unknown)}, which {version} does "
            "not know; they count as background."
        )
    return told


def _listed(classes: list[int]) -> str:
    return " and ".join(map(str, classes))
