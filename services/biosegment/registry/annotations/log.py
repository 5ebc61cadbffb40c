"""Reading the annotation log, and appending to it."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from biosegment.client.errors import NotFoundError
from biosegment.client.geometry import Box
from biosegment.client.names import ANNOTATION, DATASET, parse_int, short
from biosegment.registry.annotations.masks import PackedMask
from biosegment.registry.catalog.datasets import require_dataset
from biosegment.registry.database import now
from biosegment.registry.listing import PAGE_BYTES, after_number, list_page
from biosegment.registry.outbox import publish_event
from biosegment.registry.paging import encode_token, page_size
from biosegment.registry.tables.annotations import AnnotationRow
from biosegment.registry.tables.boxes import box_values
from biosegment.registry.tables.campaigns import ProposalRow
from biosegment.registry.tables.catalog import DatasetRow
from biosegment.registry.values import duration, timestamp
from biosegment.v1 import annotations_pb2 as pb
from biosegment.v1 import events_pb2, types_pb2


async def append(
    session: AsyncSession,
    dataset: DatasetRow,
    box: Box,
    mask: PackedMask,
    details: pb.Annotation,
    author: str,
    undone_revision: int = 0,
) -> AnnotationRow:
    """Adds a commit to the log.

    Args:
        session: The transaction.
        dataset: Its row, held, so that revisions have neither gaps nor doubles.
        box: The voxels of the mask.
        mask: The mask.
        details: base_revision, time_spent, strokes, source_tool and proposal, all checked.
        author: Who made it.
        undone_revision: For an undo, the commit undone.

    Returns:
        The new row.
    """
    dataset.revision += 1
    row = AnnotationRow(
        dataset=dataset.name,
        revision=dataset.revision,
        author=author,
        create_time=now(),
        mask=mask.data,
        mask_bytes=len(mask.data),
        classes=mask.classes,
        labelled_voxels=mask.labelled_voxels,
        base_revision=details.base_revision,
        seconds_spent=details.time_spent.seconds + details.time_spent.nanos * 1e-9,
        strokes=details.strokes,
        source_tool=details.source_tool,
        proposal=details.proposal,
        undone_revision=undone_revision,
        **box_values(box),
    )
    session.add(row)
    await session.flush()
    return row


def announce(session: AsyncSession, row: AnnotationRow, answered: ProposalRow | None) -> None:
    """Emits AnnotationCommitted.

    Args:
        session: The transaction of the commit.
        row: The commit.
        answered: The proposal that it made DONE, if any.
    """
    event = events_pb2.AnnotationCommitted(
        annotation=row.name, dataset=row.dataset, revision=row.revision, box=row.box.to_proto()
    )
    if answered is not None:
        event.proposal, event.campaign = answered.name, answered.campaign
    publish_event(session, event, row.name)


async def require_annotation(
    session: AsyncSession, name: str, *, with_mask: bool = False
) -> AnnotationRow:
    """The row of an annotation.

    Args:
        session: The transaction.
        name: projects/p/datasets/d/annotations/r
        with_mask: Load the mask too.

    Raises:
        InvalidArgumentError: The name does not follow the pattern.
        NotFoundError: There is no such data set or annotation.
    """
    ids, revision = parse_int(ANNOTATION, name)
    dataset = DATASET.format(*ids.split("/"))
    newest = (await require_dataset(session, dataset)).revision
    options = [undefer(AnnotationRow.mask)] if with_mask else []
    row = await session.get(AnnotationRow, (dataset, revision), options=options)
    if row is None:
        raise NotFoundError(
            f'There is no annotation "{short(name)}"; the newest of "{short(dataset)}" is {newest} '
            "(0: none yet).",
            name=name,
        )
    return row


async def list_annotations(
    session: AsyncSession, dataset: str, request: pb.ListAnnotationsRequest
) -> tuple[list[pb.Annotation], str]:
    """A page of a log in the order of revisions, and the next page's token.

    Raises:
        InvalidArgumentError: page_size or page_token is wrong.
    """
    after = max(request.after_revision, after_number(request.page_token))
    query = (
        select(AnnotationRow)
        .where(AnnotationRow.dataset == dataset, AnnotationRow.revision > after)
        .order_by(AnnotationRow.revision)
    )
    if request.until_revision:
        query = query.where(AnnotationRow.revision <= request.until_revision)
    if not request.with_masks:
        return await list_page(
            session, query, request.page_size, to_proto, lambda row: row.revision
        )
    # The sizes first, so that no more masks are read than are sent.
    size = page_size(request.page_size)
    sizes = query.with_only_columns(AnnotationRow.revision, AnnotationRow.mask_bytes)
    found = (await session.execute(sizes.limit(size + 1))).all()
    last, total, count = 0, 0, 0
    for revision, mask_bytes in found[:size]:
        total += mask_bytes
        if count and total > PAGE_BYTES:
            break
        last, count = revision, count + 1
    masks = query.where(AnnotationRow.revision <= last).options(undefer(AnnotationRow.mask))
    items = [to_proto(row, with_mask=True) for row in await session.scalars(masks)]
    return items, encode_token(str(last)) if count < len(found) else ""


def to_proto(row: AnnotationRow, *, with_mask: bool = False) -> pb.Annotation:
    """The message of a row; for its mask the row must have been loaded with it."""
    undone = row.undone_revision
    return pb.Annotation(
        name=row.name,
        revision=row.revision,
        author=row.author,
        create_time=timestamp(row.create_time),
        box=row.box.to_proto(),
        mask=row.mask if with_mask else b"",
        compression=types_pb2.COMPRESSION_ZLIB,
        classes=row.classes,
        base_revision=row.base_revision,
        time_spent=duration(row.seconds_spent),
        strokes=row.strokes,
        source_tool=row.source_tool,
        proposal=row.proposal,
        undone_annotation=f"{row.dataset}/annotations/{undone}" if undone else "",
        labelled_voxels=row.labelled_voxels,
    )
