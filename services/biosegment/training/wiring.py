"""Puts the training service together."""

import asyncio
from functools import partial

from biosegment.runtime.app import App
from biosegment.runtime.child import Child
from biosegment.runtime.worker import JobWorker
from biosegment.training import scratch
from biosegment.training.device import DeviceOfChild
from biosegment.training.leftovers import Leftovers
from biosegment.training.servicer import TrainingServicer
from biosegment.training.settings import TrainingServiceSettings
from biosegment.training.worker import SearchHandler, TrainHandler
from biosegment.v1 import training_pb2_grpc


async def setup(app: App, settings: TrainingServiceSettings) -> None:
    """Adds servicer and workers; they share nothing but the record."""
    await asyncio.to_thread(scratch.clean)
    child, device = Child("training"), DeviceOfChild()
    app.on_close(child.close)
    app.add_servicer(
        training_pb2_grpc.add_TrainingServiceServicer_to_server,
        TrainingServicer(app.stubs, device),
        "biosegment.v1.TrainingService",
    )
    # First, so that it has the child before any job.
    app.add_loop("device", partial(device.watch, child))
    for kind, handler in (
        ("train", TrainHandler(child, settings.connection)),
        ("search", SearchHandler(child, settings.connection)),
    ):
        worker = JobWorker(kind, app.bus, app.stubs, handler, host=settings.host_name)
        app.add_loop(kind, worker.run)
    app.add_loop("leftovers", Leftovers(app.stubs, settings.keep_checkpoint_hours).run)
