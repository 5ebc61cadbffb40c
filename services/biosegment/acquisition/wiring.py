"""Puts the acquisition service together."""

from biosegment.acquisition.conductor import Conductor
from biosegment.acquisition.events import Listener
from biosegment.acquisition.servicer import AcquisitionServicer
from biosegment.acquisition.settings import AcquisitionSettings
from biosegment.acquisition.worker import make_worker
from biosegment.runtime.app import App
from biosegment.runtime.events import EventConsumer
from biosegment.v1 import acquisition_pb2_grpc


async def setup(app: App, settings: AcquisitionSettings) -> None:
    """Adds servicer, loops and worker."""
    conductor = Conductor(app.stubs, settings.sweep_seconds)
    app.add_servicer(
        acquisition_pb2_grpc.add_AcquisitionServiceServicer_to_server,
        AcquisitionServicer(app.stubs, conductor),
        "biosegment.v1.AcquisitionService",
    )
    app.add_loop("conductor", conductor.run)
    app.add_loop("events", EventConsumer(app.bus, "acquisition", Listener(conductor).handle).run)
    app.add_loop("rank", make_worker(app.bus, app.stubs, app.connection, settings.host_name).run)
