"""The generated stubs of the whole platform on one object, sync and async.

The SDK's comfortable clients stand on these, and services use the async ones
to call each other. Every call has a deadline and raises DomainErrors.
"""

from typing import TYPE_CHECKING, Any, cast

from biosegment.client.channel import _AsyncChannel, _SyncChannel
from biosegment.client.connection import SERVICES, Connection
from biosegment.v1 import (
    acquisition_pb2_grpc,
    annotations_pb2_grpc,
    campaigns_pb2_grpc,
    inference_pb2_grpc,
    ingest_pb2_grpc,
    instances_pb2_grpc,
    jobs_pb2_grpc,
    registry_pb2_grpc,
    storage_pb2_grpc,
    training_pb2_grpc,
)

if TYPE_CHECKING:
    from types import TracebackType


class AsyncStubs:
    """One async stub per gRPC service. Make it inside the event loop that uses it."""

    def __init__(self, connection: Connection) -> None:
        self._channels = {service: _AsyncChannel(connection, service) for service in SERVICES}
        channels = cast("dict[str, Any]", self._channels)
        registry = channels["registry"]
        self.registry = cast(
            "registry_pb2_grpc.RegistryServiceAsyncStub",
            registry_pb2_grpc.RegistryServiceStub(registry),
        )
        self.annotations = cast(
            "annotations_pb2_grpc.AnnotationServiceAsyncStub",
            annotations_pb2_grpc.AnnotationServiceStub(registry),
        )
        self.campaigns = cast(
            "campaigns_pb2_grpc.CampaignServiceAsyncStub",
            campaigns_pb2_grpc.CampaignServiceStub(registry),
        )
        self.jobs = cast(
            "jobs_pb2_grpc.JobServiceAsyncStub", jobs_pb2_grpc.JobServiceStub(registry)
        )
        self.workers = cast(
            "jobs_pb2_grpc.WorkerServiceAsyncStub", jobs_pb2_grpc.WorkerServiceStub(registry)
        )
        self.storage = cast(
            "storage_pb2_grpc.StorageServiceAsyncStub",
            storage_pb2_grpc.StorageServiceStub(channels["storage"]),
        )
        self.ingest = cast(
            "ingest_pb2_grpc.IngestServiceAsyncStub",
            ingest_pb2_grpc.IngestServiceStub(channels["ingest"]),
        )
        self.acquisition = cast(
            "acquisition_pb2_grpc.AcquisitionServiceAsyncStub",
            acquisition_pb2_grpc.AcquisitionServiceStub(channels["acquisition"]),
        )
        self.training = cast(
            "training_pb2_grpc.TrainingServiceAsyncStub",
            training_pb2_grpc.TrainingServiceStub(channels["training"]),
        )
        self.inference = cast(
            "inference_pb2_grpc.InferenceServiceAsyncStub",
            inference_pb2_grpc.InferenceServiceStub(channels["inference"]),
        )
        self.instances = cast(
            "instances_pb2_grpc.InstanceServiceAsyncStub",
            instances_pb2_grpc.InstanceServiceStub(channels["inference"]),
        )

    async def close(self) -> None:
        """Closes every channel."""
        for channel in self._channels.values():
            await channel.close()

    async def __aenter__(self) -> "AsyncStubs":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        await self.close()


class SyncStubs:
    """One blocking stub per gRPC service."""

    def __init__(self, connection: Connection) -> None:
        self._channels = {service: _SyncChannel(connection, service) for service in SERVICES}
        channels = cast("dict[str, Any]", self._channels)
        registry = channels["registry"]
        self.registry = registry_pb2_grpc.RegistryServiceStub(registry)
        self.annotations = annotations_pb2_grpc.AnnotationServiceStub(registry)
        self.campaigns = campaigns_pb2_grpc.CampaignServiceStub(registry)
        self.jobs = jobs_pb2_grpc.JobServiceStub(registry)
        self.workers = jobs_pb2_grpc.WorkerServiceStub(registry)
        self.storage = storage_pb2_grpc.StorageServiceStub(channels["storage"])
        self.ingest = ingest_pb2_grpc.IngestServiceStub(channels["ingest"])
        self.acquisition = acquisition_pb2_grpc.AcquisitionServiceStub(channels["acquisition"])
        self.training = training_pb2_grpc.TrainingServiceStub(channels["training"])
        self.inference = inference_pb2_grpc.InferenceServiceStub(channels["inference"])
        self.instances = instances_pb2_grpc.InstanceServiceStub(channels["inference"])

    def close(self) -> None:
        """Closes every channel."""
        for channel in self._channels.values():
            channel.close()

    def __enter__(self) -> "SyncStubs":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        self.close()
