"""Handler of training jobs."""

from pathlib import Path

from biosegment.runtime.child import Child
from biosegment.runtime.worker import JobContext
from biosegment.v1 import jobs_pb2


class TrainHandler:
    """Trains in the child, which keeps its checkpoints in the store under the job's name."""

    def __init__(self, child: Child, connection: Path) -> None:
        self._child = child
        self._connection = connection

    async def __call__(self, ctx: JobContext) -> jobs_pb2.JobResult:
        """Runs one attempt."""
        answer = await ctx.run_child(
            self._child,
            "biosegment.training.child.run:train",
            connection=str(self._connection),
            spec=ctx.job.train_spec.SerializeToString(),
            job=ctx.job.name,
        )
        return jobs_pb2.JobResult(train_result=jobs_pb2.TrainResult.FromString(answer))
