"""InstanceService: proto in and out."""

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc.aio

from biosegment.client import names
from biosegment.client.complete import check_complete
from biosegment.client.errors import AlreadyExistsError, NotFoundError
from biosegment.client.stubs import AsyncStubs
from biosegment.inference import starts
from biosegment.inference.instances import plan as plans
from biosegment.inference.instances.recipe import tables_of
from biosegment.v1 import instances_pb2 as pb
from biosegment.v1 import instances_pb2_grpc, jobs_pb2, storage_pb2, types_pb2

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_PIECE_BYTES = 1 << 20


class InstanceServicer(instances_pb2_grpc.InstanceServiceServicer):
    """Instances."""

    def __init__(self, stubs: AsyncStubs) -> None:
        self._stubs = stubs

    async def StartInstances(
        self, request: pb.StartInstancesRequest, context: _Context
    ) -> pb.StartInstancesResponse:
        """Checks a job and starts it."""
        kind = jobs_pb2.JOB_KIND_INSTANCES
        try:
            plan = await plans.plan(self._stubs, request.parent, request.spec)
        except AlreadyExistsError:
            earlier = await starts.earlier(self._stubs, request.parent, request.request_id, kind)
            if earlier is None:
                raise
            return pb.StartInstancesResponse(job=earlier, resolved_spec=earlier.instances_spec)
        answer = pb.StartInstancesResponse(
            resolved_spec=plan.spec,
            blocks=plan.blocks,
            worker_memory_bytes=plan.worker_memory_bytes,
        )
        if not request.validate_only:
            job = jobs_pb2.Job(kind=kind, instances_spec=plan.spec, warnings=plan.warnings)
            answer.job.CopyFrom(
                await starts.create(self._stubs, request.parent, request.request_id, job)
            )
        return answer

    async def ReadInstanceTable(
        self, request: pb.ReadInstanceTableRequest, context: _Context
    ) -> AsyncIterator[pb.ReadInstanceTableResponse]:
        """Streams a table."""
        data = await self._table(request)
        for start in range(0, len(data), _PIECE_BYTES):
            yield pb.ReadInstanceTableResponse(data=data[start : start + _PIECE_BYTES])

    async def _table(self, request: pb.ReadInstanceTableRequest) -> bytes:
        # The array libraries load when the first table is read, not when the service starts.
        from biosegment.runtime.objects import fetch

        names.parse(names.VOLUME, request.volume)
        found = await self._stubs.storage.GetVolume(
            storage_pb2.GetVolumeRequest(name=request.volume)
        )
        check_complete(found.volume)
        parquet, csv = tables_of(request.volume)
        none = NotFoundError(
            f"{request.volume} has no table of measurements: it is no instance volume.",
            name=request.volume,
        )
        # The table of a volume that was deleted stays; another kind may have the name now.
        if found.volume.data_type != types_pb2.DATA_TYPE_UINT32:
            raise none
        wanted = parquet if request.format == pb.TABLE_FORMAT_PARQUET else csv
        try:
            return await fetch(self._stubs, wanted)
        except NotFoundError:
            raise none from None
