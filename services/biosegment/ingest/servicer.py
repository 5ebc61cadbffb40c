"""IngestService: proto in and out."""

from typing import Any, TypeAlias

import grpc.aio

from biosegment.client.errors import AlreadyExistsError
from biosegment.client.stubs import AsyncStubs
from biosegment.ingest import exports, imports
from biosegment.ingest.roots import Roots
from biosegment.v1 import ingest_pb2 as pb
from biosegment.v1 import ingest_pb2_grpc, jobs_pb2

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
# Newest jobs to look through for the one that a repeated request started.
_LOOK_BACK = 200
_REQUEST_KEY = "request_id"


class IngestServicer(ingest_pb2_grpc.IngestServiceServicer):
    """Import and export."""

    def __init__(self, stubs: AsyncStubs, sources: imports.Sources, export_roots: Roots) -> None:
        self._stubs = stubs
        self._sources = sources
        self._export_roots = export_roots

    async def StartImport(
        self, request: pb.StartImportRequest, context: _Context
    ) -> pb.StartImportResponse:
        """Checks an import and starts it."""
        try:
            plan = await imports.plan(self._stubs, self._sources, request.parent, request.spec)
        except AlreadyExistsError:
            job = await self._earlier(request.parent, request.request_id)
            if job is None:
                raise
            return pb.StartImportResponse(job=job)
        if request.validate_only:
            return pb.StartImportResponse(preview=plan.preview, warnings=plan.warnings)
        job = jobs_pb2.Job(
            kind=jobs_pb2.JOB_KIND_IMPORT, import_spec=plan.spec, warnings=plan.warnings
        )
        job = await self._create(request.parent, request.request_id, job)
        return pb.StartImportResponse(job=job, preview=plan.preview, warnings=plan.warnings)

    async def StartExport(
        self, request: pb.StartExportRequest, context: _Context
    ) -> pb.StartExportResponse:
        """Checks an export and starts it."""
        try:
            await exports.plan(
                self._stubs, self._sources.looks, self._export_roots, request.parent, request.spec
            )
        except AlreadyExistsError:
            earlier = await self._earlier(request.parent, request.request_id)
            if earlier is None:
                raise
            return pb.StartExportResponse(job=earlier)
        if request.validate_only:
            return pb.StartExportResponse()
        job = jobs_pb2.Job(kind=jobs_pb2.JOB_KIND_EXPORT, export_spec=request.spec)
        job = await self._create(request.parent, request.request_id, job)
        return pb.StartExportResponse(job=job)

    async def _create(self, parent: str, request_id: str, job: jobs_pb2.Job) -> jobs_pb2.Job:
        job.labels.update({_REQUEST_KEY: request_id})
        answer = await self._stubs.jobs.CreateJob(
            jobs_pb2.CreateJobRequest(parent=parent, request_id=request_id, job=job)
        )
        return answer.job

    async def _earlier(self, parent: str, request_id: str) -> jobs_pb2.Job | None:
        """The job that this request started already, whose own output now takes the name."""
        if not request_id:
            return None
        answer = await self._stubs.jobs.ListJobs(
            jobs_pb2.ListJobsRequest(
                parent=parent,
                page_size=_LOOK_BACK,
                kinds=[jobs_pb2.JOB_KIND_IMPORT, jobs_pb2.JOB_KIND_EXPORT],
            )
        )
        for job in answer.jobs:
            labels = job.labels.fields
            if _REQUEST_KEY in labels and labels[_REQUEST_KEY].string_value == request_id:
                return job
        return None
