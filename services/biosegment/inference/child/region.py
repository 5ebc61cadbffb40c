"""Tasks of the child that answer a person at once: predict a box, score patches."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.geometry import ZYX, BlockGrid, Box
from biosegment.inference.child.model import looking_at
from biosegment.inference.child.predict import LABELS, PROBABILITIES, Predictor, empty, predict
from biosegment.inference.child.score import (
    NO_COMPARISON,
    Comparison,
    Scores,
    patches_at_once,
    score,
)
from biosegment.inference.child.session import opened
from biosegment.inference.child.tiles import input_box, usual_block
from biosegment.inference.forwards import Forwards
from biosegment.nets.padding import read_with_neighbours
from biosegment.runtime.child import ChildContext

# Patches read at a time: what hides the delay of an object store. Tensorstore itself decodes on no
# more threads than there are cores.
_READERS = 16
# A patch is a small part of the chunks that it lies in, and others lie there too.
_CACHE_BYTES = 64 << 20


def predict_region(
    context: ChildContext,
    *,
    connection: str,
    dataset: str,
    version: str,
    box: Box,
    output: str,
    forwards: Forwards,
) -> NDArray[Any]:
    """Predicts a box as ``predict.predict`` does.

    Raises:
        OutsideVolumeError: The box leaves the data set.
    """
    with opened(connection, dataset=dataset, version=version, forwards=forwards) as session:
        shape = session.raw.shape()
        box.within(shape, dataset)
        return predict_box(
            session.predictor,
            session.picture.read,
            box,
            shape=shape,
            output=output,
            check=context.check,
            padding=session.picture.padding,
        )


def predict_box(
    predictor: Predictor,
    read: Callable[[Box], NDArray[Any]],
    box: Box,
    *,
    shape: ZYX,
    output: str = LABELS,
    check: Callable[[], None] = lambda: None,
    padding: Callable[[Box], NDArray[np.bool_] | None] = lambda _box: None,
) -> NDArray[Any]:
    """Predicts a box as ``predict.predict`` does, block by block.

    What is read for a box can be many times larger than the box: a section around a few of its
    pixels, or the sections around one. So no more than a block's surroundings are held at a time.

    Args:
        predictor: The network.
        read: Gives the raw voxels of a box, axes ZYX.
        box: The voxels wanted.
        shape: Extent of the volume.
        output: Of ``predict.predict``.
        check: Called between forwards; may raise to stop.
        padding: Tells which voxels of a box are padding, and so background.
    """
    footprint = predictor.module.footprint
    made = empty(output, len(predictor.classes), box.shape)
    for part in BlockGrid(box, usual_block(footprint, shape)):
        around = input_box(part, shape, footprint)
        made[(..., *part.relative_to(box.start).slices)] = predict(
            predictor,
            read(around),
            origin=around.start,
            shape=shape,
            box=part,
            output=output,
            check=check,
        )
    gone = padding(box)
    if gone is not None:
        made[..., gone] = 0
        if output == PROBABILITIES:
            made[0, gone] = 1
    return made


def score_patches(
    context: ChildContext,
    *,
    connection: str,
    dataset: str,
    version: str,
    boxes: list[Box],
    with_embeddings: bool,
    passes: int,
    seed: int,
    others: list[str],
    forwards: Forwards,
) -> Scores:
    """Scores boxes of one extent as ``score.score`` does, in their order.

    Args:
        context: Of the child.
        connection: Path of the connection file.
        dataset: projects/p/datasets/d
        version: The model version.
        boxes: The patches; all of their voxels must fit into memory.
        with_embeddings: Give the bottleneck features too.
        passes: Forwards with dropout on.
        seed: Of the dropout.
        others: Versions to compare with.
        forwards: How networks are run.

    Raises:
        OutsideVolumeError: A box leaves the data set.
        FailedPreconditionError: Passes with dropout are asked of a network without.
    """
    with (
        opened(
            connection,
            dataset=dataset,
            version=version,
            forwards=forwards,
            cache_bytes=_CACHE_BYTES,
        ) as session,
        ExitStack() as stack,
    ):
        for box in boxes:
            box.within(session.raw.shape(), dataset)
        compared = tuple(
            stack.enter_context(looking_at(session.stubs, other, session.raw, forwards=forwards))
            for other in others
        )
        return score_boxes(
            session.predictor,
            session.picture.read,
            boxes,
            shape=session.raw.shape(),
            with_embeddings=with_embeddings,
            comparison=Comparison(compared, passes, seed),
            check=context.check,
        )


def score_boxes(
    predictor: Predictor,
    read: Callable[[Box], NDArray[Any]],
    boxes: Sequence[Box],
    *,
    shape: ZYX,
    with_embeddings: bool = False,
    comparison: Comparison = NO_COMPARISON,
    check: Callable[[], None] = lambda: None,
) -> Scores:
    """Scores boxes of one extent, reading the next ones while the network looks at some.

    Args:
        predictor: The network.
        read: Gives the raw voxels of a box, axes ZYX; called in threads.
        boxes: The patches; all of their voxels must fit into memory.
        shape: Extent of the volume, for the neighbours of its first and last sections.
        with_embeddings: Give the bottleneck features too.
        comparison: What to compare the network with.
        check: Called between forwards; may raise to stop.
    """
    at_once = patches_at_once(predictor, boxes[0].shape)
    neighbours, volume = predictor.module.footprint.neighbours, Box.of_shape(shape)
    parts: list[Scores] = []

    def read_patch(box: Box) -> NDArray[Any]:
        return read_with_neighbours(read, box, neighbours, volume)

    with ThreadPoolExecutor(_READERS) as readers:
        # All are handed in at once, so that reading never waits for the network.
        voxels = readers.map(read_patch, boxes)
        # The first forward takes few, so that the network begins while the others are read.
        wanted = max(1, at_once // 8)
        try:
            while patches := list(islice(voxels, wanted)):
                wanted = at_once
                parts.append(
                    score(
                        predictor,
                        np.stack(patches),
                        with_embeddings=with_embeddings,
                        comparison=comparison,
                        check=check,
                    )
                )
        finally:
            readers.shutdown(wait=False, cancel_futures=True)
    embeddings = [part.embeddings for part in parts if part.embeddings is not None]
    return Scores(
        parts[0].names,
        np.concatenate([part.statistics for part in parts]),
        np.concatenate(embeddings) if embeddings else None,
    )
