"""Puts the inference service together."""

from biosegment.inference.calls import Calls
from biosegment.inference.instances.servicer import InstanceServicer
from biosegment.inference.instances.worker import InstanceBlocksHandler, InstancesHandler
from biosegment.inference.servicer import InferenceServicer
from biosegment.inference.settings import InferenceSettings
from biosegment.inference.worker import BlocksHandler, EvaluateHandler, SegmentHandler
from biosegment.runtime.app import App
from biosegment.runtime.child import Child
from biosegment.runtime.worker import BlocksHandler as AnyBlocksHandler
from biosegment.runtime.worker import BlockWorker, JobHandler, JobWorker
from biosegment.v1 import inference_pb2_grpc, instances_pb2_grpc


async def setup(app: App, settings: InferenceSettings) -> None:
    """Adds servicers and workers.

    One child serves all networks, since there is one device to share; instances have their own,
    which needs none.
    """
    child, instances = Child("inference"), Child("instances")
    app.on_close(child.close)
    app.on_close(instances.close)
    calls = Calls(child, settings.connection, settings.forward_pixels)
    app.add_servicer(
        inference_pb2_grpc.add_InferenceServiceServicer_to_server,
        InferenceServicer(app.stubs, calls, settings),
        "biosegment.v1.InferenceService",
    )
    app.add_servicer(
        instances_pb2_grpc.add_InstanceServiceServicer_to_server,
        InstanceServicer(app.stubs),
        "biosegment.v1.InstanceService",
    )
    jobs: dict[str, JobHandler] = {
        "segment": SegmentHandler(calls),
        "evaluate": EvaluateHandler(calls),
        "instances": InstancesHandler(instances, settings.connection),
    }
    blocks: dict[str, AnyBlocksHandler] = {
        "segment": BlocksHandler(calls),
        "instances": InstanceBlocksHandler(instances, settings.connection),
    }
    for kind in settings.kinds:
        worker = JobWorker(kind, app.bus, app.stubs, jobs[kind], host=settings.host_name)
        app.add_loop(kind, worker.run)
        if kind in blocks:
            taker = BlockWorker(kind, app.bus, app.stubs, blocks[kind], host=settings.host_name)
            app.add_loop(f"{kind}-blocks", taker.run)
