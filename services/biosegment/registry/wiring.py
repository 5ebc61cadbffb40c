"""Puts the registry together."""

from biosegment.registry.database import Database
from biosegment.registry.jobs.reconciler import Reconciler
from biosegment.registry.jobs.servicer import JobServicer, WorkerServicer
from biosegment.registry.migrate import upgrade
from biosegment.registry.outbox import OutboxRelay
from biosegment.registry.servicer import AnnotationServicer, CampaignServicer, RegistryServicer
from biosegment.registry.settings import RegistrySettings
from biosegment.runtime.app import App
from biosegment.v1 import (
    annotations_pb2_grpc,
    campaigns_pb2_grpc,
    jobs_pb2_grpc,
    registry_pb2_grpc,
)


async def setup(app: App, settings: RegistrySettings) -> None:
    """Wires the service."""
    await upgrade(settings.database_url)
    database = Database(settings.database_url)
    app.on_close(database.close)
    app.add_servicer(
        registry_pb2_grpc.add_RegistryServiceServicer_to_server,
        RegistryServicer(database),
        "biosegment.v1.RegistryService",
    )
    app.add_servicer(
        annotations_pb2_grpc.add_AnnotationServiceServicer_to_server,
        AnnotationServicer(database),
        "biosegment.v1.AnnotationService",
    )
    app.add_servicer(
        campaigns_pb2_grpc.add_CampaignServiceServicer_to_server,
        CampaignServicer(database),
        "biosegment.v1.CampaignService",
    )
    app.add_servicer(
        jobs_pb2_grpc.add_JobServiceServicer_to_server,
        JobServicer(database, settings),
        "biosegment.v1.JobService",
    )
    app.add_servicer(
        jobs_pb2_grpc.add_WorkerServiceServicer_to_server,
        WorkerServicer(database, settings),
        "biosegment.v1.WorkerService",
    )
    app.add_loop("outbox", OutboxRelay(database, app.bus).run)
    app.add_loop("reconciler", Reconciler(database, app.bus, settings).run)
