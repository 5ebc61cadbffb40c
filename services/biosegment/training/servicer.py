"""TrainingService: proto in and out."""

from typing import Any, TypeAlias

import grpc.aio
from google.protobuf.struct_pb2 import Struct

from biosegment.client.stubs import AsyncStubs
from biosegment.nets import catalog
from biosegment.training.plan import plan
from biosegment.training.search_plan import plan_search
from biosegment.training.search_state import found_so_far
from biosegment.v1 import jobs_pb2, training_pb2_grpc
from biosegment.v1 import training_pb2 as pb

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class TrainingServicer(training_pb2_grpc.TrainingServiceServicer):
    """Training of models."""

    def __init__(self, stubs: AsyncStubs) -> None:
        self._stubs = stubs

    async def StartTraining(
        self, request: pb.StartTrainingRequest, context: _Context
    ) -> pb.StartTrainingResponse:
        """Checks a training run and starts it."""
        spec = await plan(self._stubs, request.parent, request.request_id, request.spec)
        if request.validate_only:
            return pb.StartTrainingResponse(resolved_spec=spec)
        answer = await self._stubs.jobs.CreateJob(
            jobs_pb2.CreateJobRequest(
                parent=request.parent,
                request_id=request.request_id,
                job=jobs_pb2.Job(kind=jobs_pb2.JOB_KIND_TRAIN, train_spec=spec),
            )
        )
        return pb.StartTrainingResponse(job=answer.job, resolved_spec=answer.job.train_spec)

    async def StartSearch(
        self, request: pb.StartSearchRequest, context: _Context
    ) -> pb.StartSearchResponse:
        """Checks a search and starts it."""
        spec = await plan_search(self._stubs, request.parent, request.request_id, request.spec)
        if request.validate_only:
            return pb.StartSearchResponse(resolved_spec=spec)
        answer = await self._stubs.jobs.CreateJob(
            jobs_pb2.CreateJobRequest(
                parent=request.parent,
                request_id=request.request_id,
                job=jobs_pb2.Job(kind=jobs_pb2.JOB_KIND_SEARCH, search_spec=spec),
            )
        )
        return pb.StartSearchResponse(job=answer.job, resolved_spec=answer.job.search_spec)

    async def GetSearch(
        self, request: pb.GetSearchRequest, context: _Context
    ) -> pb.GetSearchResponse:
        """Says what a search has found so far."""
        return pb.GetSearchResponse(result=await found_so_far(self._stubs, request.name))

    async def ListArchitectures(
        self, request: pb.ListArchitecturesRequest, context: _Context
    ) -> pb.ListArchitecturesResponse:
        """Lists the architectures; they are few and come on one page."""
        return pb.ListArchitecturesResponse(
            architectures=[_to_proto(found) for found in catalog.describe()]
        )


def _to_proto(architecture: catalog.Architecture) -> pb.Architecture:
    parameters = Struct()
    parameters.update(architecture.defaults)
    return pb.Architecture(
        name=architecture.name, description=architecture.description, parameters=parameters
    )
