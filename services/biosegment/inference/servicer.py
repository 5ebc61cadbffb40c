"""InferenceService: proto in and out."""

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc.aio

from biosegment.client import arrays
from biosegment.client.errors import AlreadyExistsError
from biosegment.client.stubs import AsyncStubs
from biosegment.inference import answers, evaluation, segmentation, starts
from biosegment.inference.calls import Calls
from biosegment.inference.settings import InferenceSettings
from biosegment.v1 import inference_pb2 as pb
from biosegment.v1 import inference_pb2_grpc, jobs_pb2

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class InferenceServicer(inference_pb2_grpc.InferenceServiceServicer):
    """Prediction."""

    def __init__(self, stubs: AsyncStubs, calls: Calls, settings: InferenceSettings) -> None:
        self._stubs = stubs
        self._calls = calls
        self._settings = settings

    async def PredictRegion(
        self, request: pb.PredictRegionRequest, context: _Context
    ) -> AsyncIterator[pb.PredictRegionResponse]:
        """Predicts a box and streams it."""
        box, array, warnings = await answers.predict(
            self._stubs, self._calls, request, self._settings
        )
        for chunk in arrays.encode(array, box):
            yield pb.PredictRegionResponse(chunk=chunk, warnings=warnings)
            warnings = ()

    async def ScorePatches(
        self, request: pb.ScorePatchesRequest, context: _Context
    ) -> AsyncIterator[pb.ScorePatchesResponse]:
        """Scores patches."""
        async for answer in answers.score(self._stubs, self._calls, request):
            yield answer

    async def StartSegmentation(
        self, request: pb.StartSegmentationRequest, context: _Context
    ) -> pb.StartSegmentationResponse:
        """Checks a segmentation and starts it."""
        try:
            plan = await segmentation.plan(
                self._stubs,
                request.parent,
                request.request_id,
                request.spec,
                self._settings,
            )
        except AlreadyExistsError:
            earlier = await starts.earlier(
                self._stubs, request.parent, request.request_id, jobs_pb2.JOB_KIND_SEGMENT
            )
            if earlier is None:
                raise
            return pb.StartSegmentationResponse(job=earlier, resolved_spec=earlier.segment_spec)
        answer = pb.StartSegmentationResponse(
            resolved_spec=plan.spec,
            voxels=plan.voxels,
            worker_memory_bytes=plan.worker_memory_bytes,
        )
        if not request.validate_only:
            job = jobs_pb2.Job(
                kind=jobs_pb2.JOB_KIND_SEGMENT, segment_spec=plan.spec, warnings=plan.warnings
            )
            answer.job.CopyFrom(
                await starts.create(self._stubs, request.parent, request.request_id, job)
            )
        return answer

    async def StartEvaluation(
        self, request: pb.StartEvaluationRequest, context: _Context
    ) -> pb.StartEvaluationResponse:
        """Checks an evaluation and starts it."""
        most = self._settings.section_mebibytes << 20
        spec, warnings = await evaluation.plan(self._stubs, request.parent, request.spec, most)
        if request.validate_only:
            return pb.StartEvaluationResponse()
        job = jobs_pb2.Job(kind=jobs_pb2.JOB_KIND_EVALUATE, evaluate_spec=spec, warnings=warnings)
        return pb.StartEvaluationResponse(
            job=await starts.create(self._stubs, request.parent, request.request_id, job)
        )
