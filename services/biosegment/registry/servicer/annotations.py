"""AnnotationService: the annotation log."""

from typing import Any

from biosegment.registry.annotations import commit, log, undo
from biosegment.registry.catalog.datasets import require_dataset
from biosegment.registry.database import Database
from biosegment.registry.requests import once
from biosegment.runtime.server import principal
from biosegment.v1 import annotations_pb2 as pb
from biosegment.v1 import annotations_pb2_grpc


class AnnotationServicer(annotations_pb2_grpc.AnnotationServiceServicer):
    """Proto in, proto out; each call is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def CommitAnnotation(
        self, request: pb.CommitAnnotationRequest, context: Any
    ) -> pb.CommitAnnotationResponse:
        """Appends a commit."""
        box, mask = await commit.read_commit(request.annotation)
        async with self._database.write() as session:

            async def make() -> pb.CommitAnnotationResponse:
                made = await commit.commit(session, request, box, mask, principal.get())
                return pb.CommitAnnotationResponse(annotation=made)

            return await once(
                session, "CommitAnnotation", request.request_id, pb.CommitAnnotationResponse, make
            )

    async def UndoAnnotation(
        self, request: pb.UndoAnnotationRequest, context: Any
    ) -> pb.UndoAnnotationResponse:
        """Appends a commit that undoes another."""
        # The painting comes before the transaction, so that no other writer waits for it.
        async with self._database.read() as session:
            draft = await undo.draft_undo(session, request.name)
        async with self._database.write() as session:

            async def make() -> pb.UndoAnnotationResponse:
                made = await undo.undo(session, request.name, draft, principal.get())
                return pb.UndoAnnotationResponse(annotation=made)

            return await once(
                session, "UndoAnnotation", request.request_id, pb.UndoAnnotationResponse, make
            )

    async def GetAnnotation(
        self, request: pb.GetAnnotationRequest, context: Any
    ) -> pb.GetAnnotationResponse:
        """One annotation with its mask."""
        async with self._database.read() as session:
            row = await log.require_annotation(session, request.name, with_mask=True)
            return pb.GetAnnotationResponse(annotation=log.to_proto(row, with_mask=True))

    async def ListAnnotations(
        self, request: pb.ListAnnotationsRequest, context: Any
    ) -> pb.ListAnnotationsResponse:
        """The commits of a data set in the order of their revisions."""
        async with self._database.read() as session:
            await require_dataset(session, request.parent)
            found, token = await log.list_annotations(session, request.parent, request)
            return pb.ListAnnotationsResponse(annotations=found, next_page_token=token)
