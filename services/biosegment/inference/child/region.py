"""Tasks of the child that answer a person at once: predict a box, score patches."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.geometry import Box
from biosegment.inference.child.predict import predict
from biosegment.inference.child.score import Scores, score
from biosegment.inference.child.session import opened
from biosegment.inference.child.tiles import input_box
from biosegment.runtime.child import ChildContext

_READERS = 4
# Raw voxels read ahead at a time.
_BATCH_VOXELS = 1 << 25


def predict_region(
    context: ChildContext,
    *,
    connection: str,
    dataset: str,
    version: str,
    box: Box,
    output: str,
    forward_pixels: int,
) -> NDArray[Any]:
    """Predicts a box as ``predict.predict`` does.

    Raises:
        OutsideVolumeError: The box leaves the data set.
    """
    with opened(
        connection, dataset=dataset, version=version, forward_pixels=forward_pixels
    ) as session:
        shape = session.raw.shape()
        box.within(shape, dataset)
        module = session.predictor.module
        around = input_box(box, shape, halo=module.halo, stride=module.stride)
        return predict(
            session.predictor,
            session.raw.read(around),
            origin=around.start,
            shape=shape,
            box=box,
            output=output,
            check=context.check,
        )


def score_patches(
    context: ChildContext,
    *,
    connection: str,
    dataset: str,
    version: str,
    boxes: list[Box],
    with_embeddings: bool,
    forward_pixels: int,
) -> Scores:
    """Scores boxes of one extent as ``score.score`` does, in their order.

    Raises:
        OutsideVolumeError: A box leaves the data set.
    """
    with (
        opened(
            connection, dataset=dataset, version=version, forward_pixels=forward_pixels
        ) as session,
        ThreadPoolExecutor(_READERS) as readers,
    ):
        for box in boxes:
            box.within(session.raw.shape(), dataset)
        at_once = max(1, _BATCH_VOXELS // boxes[0].voxels)
        parts: list[Scores] = []
        for start in range(0, len(boxes), at_once):
            patches = np.stack(list(readers.map(session.raw.read, boxes[start : start + at_once])))
            parts.append(
                score(
                    session.predictor,
                    patches,
                    with_embeddings=with_embeddings,
                    check=context.check,
                )
            )
    embeddings = [part.embeddings for part in parts if part.embeddings is not None]
    return Scores(
        parts[0].names,
        np.concatenate([part.statistics for part in parts]),
        np.concatenate(embeddings) if embeddings else None,
    )
