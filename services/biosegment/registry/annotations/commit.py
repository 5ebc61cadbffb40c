"""Committing to the annotation log."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import Box
from biosegment.registry.annotations.log import announce, append, to_proto
from biosegment.registry.annotations.masks import PackedMask, read_mask
from biosegment.registry.campaigns.proposals import answer
from biosegment.registry.catalog.classes import require_classes
from biosegment.registry.catalog.datasets import require_dataset
from biosegment.registry.values import check_seconds, check_text
from biosegment.v1 import annotations_pb2 as pb

_LONGEST_SECONDS = 30 * 24 * 3600.0


async def read_commit(annotation: pb.Annotation) -> tuple[Box, PackedMask]:
    """Checks what needs no record, and packs the mask, before a transaction begins.

    Returns:
        The voxels and the mask.

    Raises:
        InvalidArgumentError: A field is wrong, or the mask does not fit its box.
    """
    box = Box.from_proto(annotation.box)
    if box.level != 0:
        raise InvalidArgumentError(
            f"The box {box} counts voxels of level {box.level}; annotations are made at level 0.",
            field="annotation.box",
        )
    check_seconds(annotation.time_spent, "annotation.time_spent", _LONGEST_SECONDS)
    check_text(annotation.source_tool, "annotation.source_tool")
    if annotation.strokes < 0:
        raise InvalidArgumentError(
            f"annotation.strokes is {annotation.strokes}; it cannot be negative.",
            field="annotation.strokes",
        )
    mask = await asyncio.to_thread(read_mask, annotation.mask, annotation.compression, box)
    return box, mask


async def commit(
    session: AsyncSession,
    request: pb.CommitAnnotationRequest,
    box: Box,
    mask: PackedMask,
    author: str,
) -> pb.Annotation:
    """Appends a commit, answers its proposal and emits the event.

    Args:
        session: The transaction.
        request: The request.
        box: As read_commit returned it.
        mask: As read_commit returned it.
        author: Who makes it.

    Returns:
        The commit without its mask.

    Raises:
        NotFoundError: There is no such data set or proposal.
        InvalidArgumentError: A class is unknown, or base_revision or proposal is wrong.
        OutsideVolumeError: The box leaves the data set.
        FailedPreconditionError: Somebody else holds the proposal, or it is settled.
    """
    given = request.annotation
    dataset = await require_dataset(session, request.parent, lock=True)
    box.within(dataset.shape, f'the data set "{dataset.name}"')
    await require_classes(session, dataset.project, mask.classes)
    if not 0 <= given.base_revision <= dataset.revision:
        raise InvalidArgumentError(
            f"base_revision is {given.base_revision}, but the newest revision of {dataset.name} "
            f"is {dataset.revision}.",
            field="annotation.base_revision",
        )
    answered = None
    if given.proposal:
        revision = dataset.revision + 1
        answered = await answer(
            session,
            given.proposal,
            dataset=dataset.name,
            box=box,
            claimant=request.claimant,
            annotation=f"{dataset.name}/annotations/{revision}",
        )
    row = await append(session, dataset, box, mask, given, author)
    announce(session, row, answered)
    return to_proto(row)
