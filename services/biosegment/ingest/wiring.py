"""Puts the ingest service together."""

from biosegment.ingest.leftovers import Leftovers
from biosegment.ingest.roots import Roots
from biosegment.ingest.servicer import IngestServicer
from biosegment.ingest.settings import IngestSettings
from biosegment.ingest.worker import ExportHandler, ImportHandler
from biosegment.runtime.app import App
from biosegment.runtime.child import Child
from biosegment.runtime.events import EventConsumer
from biosegment.runtime.worker import JobHandler, JobWorker
from biosegment.v1 import ingest_pb2_grpc


async def setup(app: App, settings: IngestSettings) -> None:
    """Adds servicer, workers and what tidies up after them."""
    sources = Roots(settings.import_roots, "BIOSEGMENT_IMPORT_ROOTS")
    destinations = Roots(settings.export_roots, "BIOSEGMENT_EXPORT_ROOTS")
    app.add_servicer(
        ingest_pb2_grpc.add_IngestServiceServicer_to_server,
        IngestServicer(app.stubs, sources, destinations),
        "biosegment.v1.IngestService",
    )
    left = Leftovers(app.stubs, destinations)
    app.add_loop("leftovers", EventConsumer(app.bus, "ingest", left.on_ended).run)
    importing, exporting = Child("import"), Child("export")
    app.on_close(importing.close)
    app.on_close(exporting.close)
    handlers: dict[str, JobHandler] = {
        "import": ImportHandler(sources, settings.connection, importing),
        "export": ExportHandler(destinations, settings.connection, exporting),
    }
    for kind, handler in handlers.items():
        worker = JobWorker(kind, app.bus, app.stubs, handler, host=settings.host_name)
        app.add_loop(kind, worker.run)
