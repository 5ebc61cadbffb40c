"""The annotation log: commit, undo, list."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

import numpy as np
from google.protobuf.duration_pb2 import Duration
from numpy.typing import NDArray

from biosegment.client import arrays, names
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import Box
from biosegment.client.label_values import parse_rules, read_labels
from biosegment.client.verbs.base import (
    ARRAY_SECONDS,
    QUICK_SECONDS,
    Verbs,
    collect,
    request_id,
)
from biosegment.v1 import annotations_pb2 as pb
from biosegment.v1 import registry_pb2, types_pb2

MAX_MASK_BYTES = 3 << 20
"""Compressed bytes of one commit; a larger mask goes as several."""
MAX_MASK_VOXELS = 64 << 20
"""Voxels of one commit; a larger mask goes as several."""


def split_mask(
    box: Box, mask: NDArray[np.uint8], max_bytes: int = MAX_MASK_BYTES
) -> Iterator[tuple[Box, bytes]]:
    """Cuts a mask along z, then y, until each piece fits into one commit.

    Args:
        box: The voxels of the mask.
        mask: uint8, axes ZYX, of the box's shape.
        max_bytes: Compressed bytes of one piece.

    Yields:
        Each piece's box and its zlib bytes. A single row of voxels is never cut.
    """
    axis = next((axis for axis in (0, 1) if mask.shape[axis] > 1), None)
    if mask.size <= MAX_MASK_VOXELS or axis is None:
        packed = arrays.pack_mask(mask)
        if len(packed) <= max_bytes or axis is None:
            yield box, packed
            return
    middle = mask.shape[axis] // 2
    stop, start = list(box.stop), list(box.start)
    stop[axis] = start[axis] = box.start[axis] + middle
    first = Box(box.start, (stop[0], stop[1], stop[2]), box.level)
    second = Box((start[0], start[1], start[2]), box.stop, box.level)
    halves = np.split(mask, [middle], axis)
    yield from split_mask(first, halves[0], max_bytes)
    yield from split_mask(second, halves[1], max_bytes)


class AnnotationVerbs(Verbs):
    """Writing and reading the annotation log."""

    async def as_mask(
        self,
        dataset: str,
        labels: NDArray[np.generic],
        *,
        label_map: Sequence[str] = (),
        source: str = "The mask",
    ) -> NDArray[np.uint8]:
        """Labels in the values of the data set's project, as ``commit`` sends them.

        Args:
            dataset: The data set.
            labels: Whole numbers of any type.
            label_map: Rules for numbers that mean something else than in the project, such as
                ``["255=1"]`` for masks of Fiji, ``["1-=1"]`` for numbered objects that are all of
                class 1, ``["255=255"]`` for a 255 that does mean "not labelled".
            source: Where the labels come from, for messages.

        Returns:
            uint8: class values 0 to 253, 254 = cleared, 255 = not labelled.

        Raises:
            InvalidArgumentError: A number has no meaning or could have two, or there are fractions.
            NotFoundError: There is no such project.
        """
        parent = names.project_of(self.name(names.DATASET, dataset))
        answer = await self.stubs.registry.ListLabelClasses(
            registry_pb2.ListLabelClassesRequest(parent=parent), timeout=QUICK_SECONDS
        )
        classes = [found.value for found in answer.label_classes]
        return read_labels(labels, classes, parse_rules(label_map), source=source, clears=True)

    async def commit(
        self,
        dataset: str,
        box: Box,
        mask: NDArray[np.generic],
        *,
        label_map: Sequence[str] = (),
        proposal: str | None = None,
        claimant: str = "",
        seconds: float = 0.0,
        strokes: int = 0,
        tool: str = "sdk",
        base_revision: int = 0,
    ) -> list[pb.Annotation]:
        """Appends a mask to the annotation log; returns once it is durable.

        A mask of more than 3 MiB compressed, or 64 Mi voxels, goes as several commits, cut along
        z, then y; the last one carries the proposal, the time and the strokes.

        Args:
            dataset: The data set.
            box: The voxels that the mask covers, of level 0.
            mask: Whole numbers of any type, axes ZYX, of the box's shape: class values 0 to 253,
                254 = cleared, 255 = left as it was. A mask of nothing but background and 255 or
                254 is refused, since other programs mark what was painted with these.
            label_map: Rules for numbers that mean something else, as in ``as_mask``;
                ``label_values.AS_PAINTED`` says that 254 and 255 are meant as above.
            proposal: The proposal that it answers (``campaign/n`` or its full name).
            claimant: Who claimed the proposal, as given to ``claim``.
            seconds: Time spent painting.
            strokes: Strokes or clicks made.
            tool: Where it comes from.
            base_revision: The revision that the painter was looking at.

        Returns:
            The commits, without their masks; one unless the mask was cut.

        Raises:
            InvalidArgumentError: The mask does not fit, holds a number without a label class, or
                one that could mean two things.
            OutsideVolumeError: The box leaves the data set.
            FailedPreconditionError: The proposal is somebody else's, or answered already.
        """
        name = self.name(names.DATASET, dataset)
        answered = self.name(names.PROPOSAL, proposal) if proposal else ""
        if mask.shape != box.shape:
            raise InvalidArgumentError(
                f"A mask of shape {mask.shape} does not fill the box {box} of shape {box.shape}.",
                box=box,
            )
        values = await self.as_mask(name, mask, label_map=label_map)
        pieces = list(split_mask(box, values))
        commits: list[pb.Annotation] = []
        for number, (piece, packed) in enumerate(pieces, start=1):
            annotation = pb.Annotation(
                box=piece.to_proto(),
                mask=packed,
                compression=types_pb2.COMPRESSION_ZLIB,
                base_revision=base_revision,
                source_tool=tool,
            )
            if number == len(pieces):
                annotation.proposal = answered
                annotation.strokes = strokes
                spent = Duration()
                spent.FromTimedelta(timedelta(seconds=seconds))
                annotation.time_spent.CopyFrom(spent)
            request = pb.CommitAnnotationRequest(
                parent=name, request_id=request_id(), annotation=annotation, claimant=claimant
            )
            answer = await self.stubs.annotations.CommitAnnotation(request, timeout=ARRAY_SECONDS)
            commits.append(answer.annotation)
        return commits

    async def undo(self, annotation: str) -> pb.Annotation:
        """Appends a commit that makes the labels read as if the given one had never been made.

        Args:
            annotation: ``dataset/revision`` or its full name.

        Raises:
            NotFoundError: There is no such annotation.
        """
        request = pb.UndoAnnotationRequest(
            name=self.name(names.ANNOTATION, annotation), request_id=request_id()
        )
        answer = await self.stubs.annotations.UndoAnnotation(request, timeout=ARRAY_SECONDS)
        return answer.annotation

    async def annotations(
        self,
        dataset: str,
        *,
        after: int = 0,
        until: int = 0,
        with_masks: bool = False,
        limit: int = 1000,
    ) -> list[pb.Annotation]:
        """The commits of a data set in the order of their revisions.

        Args:
            dataset: The data set.
            after: Only revisions after this one.
            until: Only revisions up to this one; 0 means all.
            with_masks: With masks; decode them with ``biosegment.client.arrays.unpack_mask``.
            limit: At most this many.
        """
        request = pb.ListAnnotationsRequest(
            parent=self.name(names.DATASET, dataset),
            after_revision=after,
            until_revision=until,
            with_masks=with_masks,
        )
        return await collect(
            self.stubs.annotations.ListAnnotations,
            request,
            lambda response: response.annotations,
            limit,
        )
