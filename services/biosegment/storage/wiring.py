"""Puts the storage service together."""

from biosegment.runtime.app import App
from biosegment.runtime.events import EventConsumer
from biosegment.storage import address, start
from biosegment.storage.hold import Hold
from biosegment.storage.painter import Painter
from biosegment.storage.servicer import StorageServicer
from biosegment.storage.settings import StorageSettings
from biosegment.storage.store import Store
from biosegment.storage.volumes import Volumes
from biosegment.v1 import storage_pb2_grpc

# A service that is restarted while the store is away must not look like one that keeps ending.
_PATIENCE_SECONDS = 15.0


async def setup(app: App, settings: StorageSettings) -> None:
    """Takes the store; adds servicer, painter and sweep."""
    base = address.base_spec(settings.store, settings.store_endpoint, settings.store_region)
    store = Store(base)
    probe = await start.probe(store, patience_seconds=_PATIENCE_SECONDS)
    hold = Hold(store, settings.store_session, settings.store_sessions)
    await hold.take()
    app.on_close(hold.release)
    if hold.beats:
        app.add_loop("hold", hold.keep)
    volumes = Volumes(store)
    app.add_servicer(
        storage_pb2_grpc.add_StorageServiceServicer_to_server,
        StorageServicer(store, volumes, probe),
        "biosegment.v1.StorageService",
    )
    painter = Painter(volumes, app.stubs, settings.sweep_seconds)
    app.add_loop("paint", EventConsumer(app.bus, "storage", painter.on_committed).run)
    app.add_loop("sweep", painter.sweep)
