"""Undoing commits.

The log reads as its commits painted in the order of their revisions. Undos are commits too, and
their masks are made so that this stays true; but what an undo's mask must hold follows from the
other commits alone: those that are made by people and not undone at present. An undo that is itself
undone counts for nothing.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.arrays import NOT_LABELLED
from biosegment.client.errors import FailedPreconditionError
from biosegment.client.geometry import Box
from biosegment.registry.annotations.log import announce, append, require_annotation, to_proto
from biosegment.registry.annotations.masks import (
    MAX_MASK_BYTES,
    PackedMask,
    difference,
    pack,
    paint,
)
from biosegment.registry.campaigns.proposals import answer_again, reopen
from biosegment.registry.catalog.datasets import require_dataset
from biosegment.registry.tables.annotations import AnnotationRow
from biosegment.v1 import annotations_pb2 as pb


@dataclass(frozen=True, slots=True)
class UndoDraft:
    """What an undo would commit.

    Attributes:
        revision: The log's newest revision when this was worked out.
        mask: From the view at that revision to the view without the undone commit.
    """

    revision: int
    mask: PackedMask


async def draft_undo(session: AsyncSession, name: str) -> UndoDraft:
    """Works out the mask of an undo. Memory: two views and one mask of a commit's size each.

    Args:
        session: To read with.
        name: The commit to undo.

    Raises:
        InvalidArgumentError: The name does not follow the pattern.
        NotFoundError: There is no such annotation.
    """
    target = await require_annotation(session, name)
    dataset = await require_dataset(session, target.dataset)
    revision = dataset.revision
    undos = await _undos(session, target.dataset, revision)
    now_void = void_commits(undos)
    then_void = void_commits({**undos, revision + 1: target.revision})
    shape = target.box.shape
    before, after = (np.full(shape, NOT_LABELLED, np.uint8) for _ in range(2))
    for number in await _commits_in(session, target.dataset, target.box, revision):
        views = [
            view for view, void in ((before, now_void), (after, then_void)) if number not in void
        ]
        if not views:
            continue
        data, box = await _mask(session, target.dataset, number)
        await asyncio.to_thread(_paint_all, views, target.box, data, box)
    return UndoDraft(revision, await asyncio.to_thread(_pack_difference, before, after))


async def undo(session: AsyncSession, name: str, draft: UndoDraft, author: str) -> pb.Annotation:
    """Appends the commit that undoes another, and emits the event.

    Args:
        session: The transaction.
        name: The commit to undo.
        draft: As draft_undo returned it; worked out again if the log has grown since.
        author: Who undoes.

    Returns:
        The new commit without its mask.

    Raises:
        InvalidArgumentError: The name does not follow the pattern.
        NotFoundError: There is no such annotation.
        FailedPreconditionError: It is undone already, or the undo is too large for one commit.
    """
    target = await require_annotation(session, name)
    dataset = await require_dataset(session, target.dataset, lock=True)
    undos = await _undos(session, dataset.name, dataset.revision)
    if target.revision in void_commits(undos):
        raise FailedPreconditionError(
            f'The annotation "{name}" is undone already; to bring it back, undo the annotation '
            "that undid it.",
            name=name,
        )
    if draft.revision != dataset.revision:
        draft = await draft_undo(session, name)
    if len(draft.mask.data) > MAX_MASK_BYTES:
        raise FailedPreconditionError(
            f'Undoing "{name}" would change labels in too fine a pattern for one commit: '
            f"{len(draft.mask.data)} bytes, at most {MAX_MASK_BYTES}. Paint over it in parts.",
            name=name,
        )
    details = pb.Annotation(base_revision=dataset.revision)
    row = await append(
        session, dataset, target.box, draft.mask, details, author, undone_revision=target.revision
    )
    root = _root(undos, target.revision)
    first = await require_annotation(session, f"{dataset.name}/annotations/{root}")
    answered = None
    if first.proposal:
        if root in void_commits({**undos, row.revision: target.revision}):
            await reopen(session, first.proposal, first.name)
        else:
            answered = await answer_again(session, first.proposal, first.name)
    announce(session, row, answered)
    return to_proto(row)


def void_commits(undos: dict[int, int]) -> set[int]:
    """The commits that count for nothing.

    Args:
        undos: The commit undone by each undo, both as revisions.

    Returns:
        The revisions of commits, undos among them, that a counting undo has undone.
    """
    void: set[int] = set()
    # An undo is newer than what it undoes: from the newest on, each is settled when it is reached.
    for revision in sorted(undos, reverse=True):
        if revision not in void:
            void.add(undos[revision])
    return void


def _root(undos: dict[int, int], revision: int) -> int:
    while revision in undos:
        revision = undos[revision]
    return revision


async def _undos(session: AsyncSession, dataset: str, until: int) -> dict[int, int]:
    rows = await session.execute(
        select(AnnotationRow.revision, AnnotationRow.undone_revision).where(
            AnnotationRow.dataset == dataset,
            AnnotationRow.undone_revision > 0,
            AnnotationRow.revision <= until,
        )
    )
    return dict(rows.all())


async def _commits_in(session: AsyncSession, dataset: str, box: Box, until: int) -> Iterable[int]:
    a = AnnotationRow
    (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
    return (
        await session.scalars(
            select(a.revision)
            .where(a.dataset == dataset, a.revision <= until, a.undone_revision == 0)
            .where(a.z_start < z1, a.z_stop > z0, a.y_start < y1, a.y_stop > y0)
            .where(a.x_start < x1, a.x_stop > x0)
            .order_by(a.revision)
        )
    ).all()


async def _mask(session: AsyncSession, dataset: str, revision: int) -> tuple[bytes, Box]:
    a = AnnotationRow
    row = (
        await session.execute(
            select(a.mask, a.z_start, a.y_start, a.x_start, a.z_stop, a.y_stop, a.x_stop).where(
                a.dataset == dataset, a.revision == revision
            )
        )
    ).one()
    return row[0], Box((row[1], row[2], row[3]), (row[4], row[5], row[6]))


def _paint_all(views: list[NDArray[np.uint8]], view_box: Box, data: bytes, box: Box) -> None:
    for view in views:
        paint(view, view_box, data, box)


def _pack_difference(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> PackedMask:
    return pack(difference(before, after))
