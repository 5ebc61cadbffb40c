"""Puts the inference service together."""

from functools import partial

from biosegment.inference.calls import Calls
from biosegment.inference.instances.servicer import InstanceServicer
from biosegment.inference.instances.worker import InstanceBlocksHandler, InstancesHandler
from biosegment.inference.servicer import InferenceServicer
from biosegment.inference.settings import InferenceSettings
from biosegment.inference.worker import BlocksHandler, EvaluateHandler, SegmentHandler
from biosegment.runtime.app import App
from biosegment.runtime.child import Child
from biosegment.runtime.worker import BlockWorker, JobWorker
from biosegment.v1 import inference_pb2_grpc, instances_pb2_grpc


async def setup(app: App, settings: InferenceSettings) -> None:
    """Adds servicers, and workers for the kinds of jobs that this process takes."""
    child = Child("inference")
    app.on_close(child.close)
    calls = Calls(child, settings.connection, settings.forwards)
    app.add_servicer(
        inference_pb2_grpc.add_InferenceServiceServicer_to_server,
        InferenceServicer(app.stubs, calls, settings),
        "biosegment.v1.InferenceService",
    )
    app.add_loop("warm", partial(child.keep_warm, "biosegment.inference.child.region"))
    app.add_servicer(
        instances_pb2_grpc.add_InstanceServiceServicer_to_server,
        InstanceServicer(app.stubs),
        "biosegment.v1.InstanceService",
    )
    host = settings.host_name
    if "segment" in settings.kinds:
        segment = JobWorker("segment", app.bus, app.stubs, SegmentHandler(calls), host=host)
        blocks = BlockWorker("segment", app.bus, app.stubs, BlocksHandler(calls), host=host)
        app.add_loop("segment", segment.run)
        app.add_loop("segment-blocks", blocks.run)
    if "evaluate" in settings.kinds:
        evaluate = JobWorker("evaluate", app.bus, app.stubs, EvaluateHandler(calls), host=host)
        app.add_loop("evaluate", evaluate.run)
    if "instances" in settings.kinds:
        _add_instances(app, settings)


def _add_instances(app: App, settings: InferenceSettings) -> None:
    """Instances need no device: each block in work has a child of its own."""
    children = [Child(f"instances-{n}") for n in range(settings.instance_processes)]
    job = InstancesHandler(children[0], settings.connection)
    worker = JobWorker("instances", app.bus, app.stubs, job, host=settings.host_name)
    app.add_loop("instances", worker.run)
    for n, child in enumerate(children):
        app.on_close(child.close)
        handler = InstanceBlocksHandler(child, settings.connection)
        taker = BlockWorker("instances", app.bus, app.stubs, handler, host=settings.host_name)
        app.add_loop(f"instances-blocks-{n}", taker.run)
