"""Puts the inference service together."""

from functools import partial

from biosegment.inference.calls import Calls
from biosegment.inference.servicer import InferenceServicer
from biosegment.inference.settings import InferenceSettings
from biosegment.inference.worker import BlocksHandler, EvaluateHandler, SegmentHandler
from biosegment.runtime.app import App
from biosegment.runtime.child import Child
from biosegment.runtime.worker import BlockWorker, JobWorker
from biosegment.v1 import inference_pb2_grpc


async def setup(app: App, settings: InferenceSettings) -> None:
    """Adds servicer and workers; one child serves all, since there is one device to share."""
    child = Child("inference")
    app.on_close(child.close)
    calls = Calls(child, settings.connection, settings.forward_pixels)
    app.add_servicer(
        inference_pb2_grpc.add_InferenceServiceServicer_to_server,
        InferenceServicer(app.stubs, calls, settings),
        "biosegment.v1.InferenceService",
    )
    app.add_loop("warm", partial(child.keep_warm, "biosegment.inference.child.region"))
    host = settings.host_name
    segment = JobWorker("segment", app.bus, app.stubs, SegmentHandler(calls), host=host)
    blocks = BlockWorker("segment", app.bus, app.stubs, BlocksHandler(calls), host=host)
    evaluate = JobWorker("evaluate", app.bus, app.stubs, EvaluateHandler(calls), host=host)
    app.add_loop("segment", segment.run)
    app.add_loop("segment-blocks", blocks.run)
    app.add_loop("evaluate", evaluate.run)
