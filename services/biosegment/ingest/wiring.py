"""Puts the ingest service together."""

from biosegment.client.grants import make_key
from biosegment.ingest.imports import Sources
from biosegment.ingest.leftovers import Leftovers
from biosegment.ingest.looks import Looks
from biosegment.ingest.roots import Roots
from biosegment.ingest.servicer import IngestServicer
from biosegment.ingest.settings import IngestSettings
from biosegment.ingest.worker import ExportHandler, ImportHandler
from biosegment.runtime.app import App
from biosegment.runtime.child import Child
from biosegment.runtime.events import EventConsumer
from biosegment.runtime.worker import JobHandler, JobWorker
from biosegment.v1 import ingest_pb2_grpc

_KINDS = ("import", "export")
# A job whose files do not answer for so long gives way to others, and is tried again later.
_STALL_SECONDS = 120.0


async def setup(app: App, settings: IngestSettings) -> None:
    """Adds servicer, workers and what tidies up after them."""
    looks = Looks()
    app.on_close(looks.close)
    own = settings.own_folders
    key = make_key(settings.connection)
    sources = Sources(looks, Roots(settings.import_roots, "import", own=own), key)
    destinations = Roots(settings.export_roots, "export", own=own)
    app.add_servicer(
        ingest_pb2_grpc.add_IngestServiceServicer_to_server,
        IngestServicer(app.stubs, sources, destinations),
        "biosegment.v1.IngestService",
    )
    left = Leftovers(app.stubs, destinations, looks)
    app.add_loop("leftovers", EventConsumer(app.bus, "ingest", left.on_ended).run)
    importing, exporting = (Child(name, stall_seconds=_STALL_SECONDS) for name in _KINDS)
    app.on_close(importing.close)
    app.on_close(exporting.close)
    handlers: dict[str, JobHandler] = {
        "import": ImportHandler(sources, settings.connection, importing),
        "export": ExportHandler(destinations, looks, settings.connection, exporting),
    }
    for kind, handler in handlers.items():
        worker = JobWorker(kind, app.bus, app.stubs, handler, host=settings.host_name)
        app.add_loop(kind, worker.run)
