"""Puts the storage service together."""

from biosegment.runtime.app import App
from biosegment.runtime.events import EventConsumer
from biosegment.storage.painter import Painter
from biosegment.storage.servicer import StorageServicer
from biosegment.storage.settings import StorageSettings
from biosegment.storage.store import Store
from biosegment.storage.volumes import Volumes
from biosegment.v1 import storage_pb2_grpc


async def setup(app: App, settings: StorageSettings) -> None:
    """Adds servicer, painter and sweep."""
    store = Store.of_folder(settings.store)
    volumes = Volumes(store)
    app.add_servicer(
        storage_pb2_grpc.add_StorageServiceServicer_to_server,
        StorageServicer(store, volumes),
        "biosegment.v1.StorageService",
    )
    painter = Painter(volumes, app.stubs, settings.sweep_seconds)
    app.add_loop("paint", EventConsumer(app.bus, "storage", painter.on_committed).run)
    app.add_loop("sweep", painter.sweep)
