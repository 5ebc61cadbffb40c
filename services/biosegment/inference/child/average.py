"""Predictions averaged over views of a volume."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from biosegment.client.geometry import ZYX, Box
from biosegment.inference.child.predict import (
    PROBABILITIES,
    Predictor,
    empty,
    output_of,
    predict_all,
)
from biosegment.inference.views import View

# Below what a probability can be told from 0 by, in float32.
_LEAST = 1e-37


def predict_views(
    predictor: Predictor,
    raw: NDArray[Any],
    *,
    origin: ZYX,
    shape: ZYX,
    box: Box,
    outputs: Sequence[str],
    views: Sequence[View],
    check: Callable[[], None],
    tell: Callable[[float], None] = lambda _part: None,
) -> tuple[NDArray[Any], ...]:
    """Several outputs of the mean class probabilities over views of a volume.

    Args:
        predictor: The network.
        raw: Voxels, axes ZYX, that cover ``views.around`` of the box.
        origin: Where ``raw`` begins in the volume.
        shape: Extent of the volume, (z, y, x).
        box: The voxels wanted.
        outputs: As of ``predict_all``.
        views: One or more; the cost grows with their number.
        check: Called between forwards; may raise to stop.
        tell: Called after each forward with the part of the work that is done, 0 to 1.

    Raises:
        OutOfMemoryError: Even the smallest tile is too large for the device.
    """
    if list(views) == [View()]:
        return predict_all(
            predictor,
            raw,
            origin=origin,
            shape=shape,
            box=box,
            outputs=outputs,
            check=check,
            tell=tell,
        )
    read = Box.at(origin, (raw.shape[0], raw.shape[1], raw.shape[2]))
    total = np.zeros((len(predictor.classes), *box.shape), np.float32)
    for number, view in enumerate(views):
        (made,) = predict_all(
            predictor,
            view.of(raw),
            origin=view.box(read, shape).start,
            shape=view.extent(shape),
            box=view.box(box, shape),
            outputs=(PROBABILITIES,),
            check=check,
            tell=lambda part, number=number: tell((number + part) / len(views)),  # type: ignore[misc]
        )
        total += view.back(made)
        # Or this view would be held beside the next one.
        del made
    total /= len(views)
    # The logarithms of probabilities are logits of the same.
    np.log(np.maximum(total, _LEAST, out=total), out=total)
    done = tuple(empty(output, len(predictor.classes), box.shape) for output in outputs)
    # Section by section, for what an output needs on the way is several times its size.
    for z in range(box.shape[0]):
        logits = torch.from_numpy(total[:, z : z + 1]).to(predictor.device)
        for whole, output in zip(done, outputs, strict=True):
            whole[..., z : z + 1, :, :] = output_of(predictor, logits, output)
    return done
