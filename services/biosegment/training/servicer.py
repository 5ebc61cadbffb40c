"""TrainingService: proto in and out."""

from typing import Any, TypeAlias

import grpc.aio
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from biosegment.client.geometry import shape_proto
from biosegment.client.stubs import AsyncStubs
from biosegment.nets import catalog
from biosegment.nets.families import Architecture
from biosegment.nets.parameters import Parameters
from biosegment.training import other_data
from biosegment.training.device import DeviceOfChild, recommended
from biosegment.training.plan import plan
from biosegment.training.search_plan import plan_search
from biosegment.training.search_state import found_so_far
from biosegment.v1 import jobs_pb2, training_pb2_grpc
from biosegment.v1 import training_pb2 as pb

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class TrainingServicer(training_pb2_grpc.TrainingServiceServicer):
    """Training of models."""

    def __init__(self, stubs: AsyncStubs, device: DeviceOfChild) -> None:
        self._stubs = stubs
        self._device = device

    async def StartTraining(
        self, request: pb.StartTrainingRequest, context: _Context
    ) -> pb.StartTrainingResponse:
        """Checks a training run and starts it."""
        planned = await plan(self._stubs, request.parent, request.request_id, request.spec)
        if request.validate_only:
            return pb.StartTrainingResponse(resolved_spec=planned.spec)
        told = await other_data.warnings(self._stubs, planned.spec)
        answer = await self._stubs.jobs.CreateJob(
            jobs_pb2.CreateJobRequest(
                parent=request.parent,
                request_id=request.request_id,
                job=jobs_pb2.Job(
                    kind=jobs_pb2.JOB_KIND_TRAIN,
                    train_spec=planned.spec,
                    warnings=[*request.warnings, *planned.warnings, *told],
                ),
            )
        )
        return pb.StartTrainingResponse(job=answer.job, resolved_spec=answer.job.train_spec)

    async def StartSearch(
        self, request: pb.StartSearchRequest, context: _Context
    ) -> pb.StartSearchResponse:
        """Checks a search and starts it."""
        spec, warnings = await plan_search(
            self._stubs, request.parent, request.request_id, request.spec
        )
        if request.validate_only:
            return pb.StartSearchResponse(resolved_spec=spec)
        told = await other_data.warnings(self._stubs, spec.training)
        answer = await self._stubs.jobs.CreateJob(
            jobs_pb2.CreateJobRequest(
                parent=request.parent,
                request_id=request.request_id,
                job=jobs_pb2.Job(
                    kind=jobs_pb2.JOB_KIND_SEARCH, search_spec=spec, warnings=[*warnings, *told]
                ),
            )
        )
        return pb.StartSearchResponse(job=answer.job, resolved_spec=answer.job.search_spec)

    async def GetSearch(
        self, request: pb.GetSearchRequest, context: _Context
    ) -> pb.GetSearchResponse:
        """Says what a search has found so far."""
        return pb.GetSearchResponse(result=await found_so_far(self._stubs, request.name))

    async def DescribeDevice(
        self, request: pb.DescribeDeviceRequest, context: _Context
    ) -> pb.DescribeDeviceResponse:
        """Says what networks are trained on here."""
        return pb.DescribeDeviceResponse(device=await self._device.get())

    async def ListArchitectures(
        self, request: pb.ListArchitecturesRequest, context: _Context
    ) -> pb.ListArchitecturesResponse:
        """Lists the architectures; they are few and come on one page."""
        usual = recommended(self._device.known)
        return pb.ListArchitecturesResponse(
            architectures=[_to_proto(found, found.defaults, usual) for found in catalog.describe()]
        )

    async def ResolveArchitecture(
        self, request: pb.ResolveArchitectureRequest, context: _Context
    ) -> pb.ResolveArchitectureResponse:
        """Checks an architecture's parameters and says what they make of it."""
        known = self._device.known if request.name else await self._device.get()
        usual = recommended(known)
        name = request.name or usual[0]
        parameters = catalog.resolve(name, MessageToDict(request.parameters))
        return pb.ResolveArchitectureResponse(
            architecture=_to_proto(catalog.find(name), parameters, usual)
        )


def _to_proto(
    architecture: Architecture, values: Parameters, usual: tuple[str, str]
) -> pb.Architecture:
    is_usual = architecture.name == usual[0]
    parameters = Struct()
    parameters.update(values)
    footprint = architecture.footprint(values)
    return pb.Architecture(
        name=architecture.name,
        description=architecture.description,
        parameters=parameters,
        patch_step=shape_proto(footprint.stride),
        patch=shape_proto(architecture.patch(values)),
        neighbours=footprint.neighbours,
        whole_sections=not footprint.local,
        recommended=is_usual,
        reason=usual[1] if is_usual else "",
    )
