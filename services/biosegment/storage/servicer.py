"""StorageService: proto in and out."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc.aio

from biosegment.client import names
from biosegment.client.errors import InvalidArgumentError
from biosegment.storage.objects import Objects
from biosegment.storage.regions import Regions
from biosegment.storage.spool import Spool
from biosegment.storage.store import Store, object_path
from biosegment.storage.volumes import Volumes
from biosegment.v1 import storage_pb2 as pb
from biosegment.v1 import storage_pb2_grpc

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_DEFAULT_PAGE, _MAX_PAGE = 50, 1000


class StorageServicer(storage_pb2_grpc.StorageServiceServicer):
    """The arrays of the platform."""

    def __init__(self, store: Store, volumes: Volumes, probe: pb.StoreProbe) -> None:
        self._store = store
        self._volumes = volumes
        self._regions = Regions(volumes, Spool(store))
        self._objects = Objects(store)
        self._probe = probe

    async def CreateVolume(
        self, request: pb.CreateVolumeRequest, context: _Context
    ) -> pb.CreateVolumeResponse:
        """Makes an empty volume."""
        volume = await self._volumes.create(
            request.volume, request.request_id, replace_unfinished=request.replace_unfinished
        )
        return pb.CreateVolumeResponse(volume=volume)

    async def GetVolume(
        self, request: pb.GetVolumeRequest, context: _Context
    ) -> pb.GetVolumeResponse:
        """Finds a volume."""
        return pb.GetVolumeResponse(volume=await self._volumes.get(request.name))

    async def ListVolumes(
        self, request: pb.ListVolumesRequest, context: _Context
    ) -> pb.ListVolumesResponse:
        """Lists a project's volumes."""
        (project,) = names.parse(names.PROJECT, request.parent)
        size = min(request.page_size or _DEFAULT_PAGE, _MAX_PAGE)
        if size < 0:
            raise InvalidArgumentError("page_size must not be negative.", field="page_size")
        found, last = await self._volumes.page(project, size, _after(request.page_token))
        token = base64.urlsafe_b64encode(last.encode()).decode()
        return pb.ListVolumesResponse(volumes=found, next_page_token=token)

    async def FinishVolume(
        self, request: pb.FinishVolumeRequest, context: _Context
    ) -> pb.FinishVolumeResponse:
        """Declares a volume complete."""
        grey = request.grey if request.HasField("grey") else None
        return pb.FinishVolumeResponse(volume=await self._volumes.finish(request.name, grey))

    async def RecordGreyStatistics(
        self, request: pb.RecordGreyStatisticsRequest, context: _Context
    ) -> pb.RecordGreyStatisticsResponse:
        """Keeps the grey values of an image."""
        volume = await self._volumes.record_grey(request.name, request.grey)
        return pb.RecordGreyStatisticsResponse(volume=volume)

    async def DeleteVolume(
        self, request: pb.DeleteVolumeRequest, context: _Context
    ) -> pb.DeleteVolumeResponse:
        """Removes a volume."""
        await self._volumes.delete(request.name, made_by=request.made_by_request_id)
        return pb.DeleteVolumeResponse()

    async def ResolveVolume(
        self, request: pb.ResolveVolumeRequest, context: _Context
    ) -> pb.ResolveVolumeResponse:
        """Says how to open a volume's levels."""
        volume, specs = await self._volumes.level_specs(request.name)
        return pb.ResolveVolumeResponse(volume=volume, level_specs=specs, probe=self._probe)

    async def ResolveObject(
        self, request: pb.ResolveObjectRequest, context: _Context
    ) -> pb.ResolveObjectResponse:
        """Says how to reach a named object."""
        spec = self._store.spec(object_path(request.name))
        return pb.ResolveObjectResponse(kvstore_spec=json.dumps(spec), probe=self._probe)

    async def ReadObject(
        self, request: pb.ReadObjectRequest, context: _Context
    ) -> AsyncIterator[pb.ReadObjectResponse]:
        """Streams the bytes of an object."""
        async with aclosing(self._objects.read(request.name)) as pieces:
            async for data in pieces:
                yield pb.ReadObjectResponse(data=data)

    async def WriteObject(
        self, request: AsyncIterator[pb.WriteObjectRequest], context: _Context
    ) -> pb.WriteObjectResponse:
        """Stores an object."""
        await self._objects.write(request)
        return pb.WriteObjectResponse()

    async def DeleteObject(
        self, request: pb.DeleteObjectRequest, context: _Context
    ) -> pb.DeleteObjectResponse:
        """Removes an object, or all below a name."""
        await self._objects.delete(request.name, below=request.below)
        return pb.DeleteObjectResponse()

    async def ReadRegion(
        self, request: pb.ReadRegionRequest, context: _Context
    ) -> AsyncIterator[pb.ReadRegionResponse]:
        """Streams the voxels of a box."""
        box = request.box if request.HasField("box") else None
        async with aclosing(self._regions.read(request.name, box)) as chunks:
            async for chunk in chunks:
                yield pb.ReadRegionResponse(chunk=chunk)

    async def WriteRegion(
        self, request: AsyncIterator[pb.WriteRegionRequest], context: _Context
    ) -> pb.WriteRegionResponse:
        """Writes the voxels of a box."""
        await self._regions.write(request)
        return pb.WriteRegionResponse()


def _after(page_token: str) -> str:
    try:
        return base64.urlsafe_b64decode(page_token).decode()
    except ValueError:
        raise InvalidArgumentError(
            "The page token is not one that a previous page gave.", field="page_token"
        ) from None
