"""Handlers of training jobs and searches."""

import signal
from pathlib import Path
from typing import Any

from biosegment.client.errors import InternalError, WorkerDiedError
from biosegment.runtime import log
from biosegment.runtime.child import Child
from biosegment.runtime.worker import JobContext
from biosegment.v1 import jobs_pb2

_log = log.get(__name__)
_KILLED = str(-signal.SIGKILL)
_MOST_PARTS = 8


async def _trained(ctx: JobContext, child: Child, target: str, **kwargs: Any) -> bytes:
    """Runs a training task in the child.

    A child that was killed most likely met the system's out-of-memory killer, which no exception
    tells of: the task goes on from its checkpoint with smaller pieces of a batch.
    """
    parts = 1
    while True:
        try:
            answer: bytes = await ctx.run_child(
                child, target, job=ctx.job.name, parts=parts, **kwargs
            )
            return answer
        except WorkerDiedError as error:
            killed = error.metadata.get("exit_code") == _KILLED
            if not killed or parts >= _MOST_PARTS or ctx.cancelled.is_set():
                raise
        parts *= 2
        _log.warning("training.killed", job=ctx.job.name, parts=parts)


class TrainHandler:
    """Trains in the child, which keeps its checkpoints in the store under the job's name."""

    def __init__(self, child: Child, connection: Path) -> None:
        self._child = child
        self._connection = connection

    async def __call__(self, ctx: JobContext) -> jobs_pb2.JobResult:
        """Runs one attempt."""
        answer = await _trained(
            ctx,
            self._child,
            "biosegment.training.child.run:train",
            # Before the next trial of a search: somebody waits for it.
            urgent=True,
            connection=str(self._connection),
            spec=ctx.job.train_spec.SerializeToString(),
        )
        result = jobs_pb2.JobResult.FromString(answer)
        result.warnings.extend(_cut_short(result.train_result))
        return result


def _cut_short(result: jobs_pb2.TrainResult) -> list[str]:
    """What to know of a training for most of whose steps there was no time."""
    asked, taken = result.settings.steps, int(result.metrics.get("steps", 0))
    if not result.metrics.get("out_of_time") or 2 * taken >= asked:
        return []
    seconds = result.settings.max_seconds
    warning = (
        f"It was trained for {taken} of {asked} steps, for no more fitted into {seconds:g} s on "
        "this machine. A smaller network, or a GPU, takes more of them."
    )
    return [warning]


class SearchHandler:
    """Searches trial by trial, in the child that trains; between two trials others take turns."""

    def __init__(self, child: Child, connection: Path) -> None:
        self._child = child
        self._connection = connection

    async def __call__(self, ctx: JobContext) -> jobs_pb2.JobResult:
        """Runs one attempt, which goes on after the trials that have ended."""
        spec = ctx.job.search_spec
        # Once more than there are trials, to end the search.
        for _ in range(spec.trials + 1):
            answer = await _trained(
                ctx,
                self._child,
                "biosegment.training.child.search:next_trial",
                connection=str(self._connection),
                spec=spec.SerializeToString(),
            )
            result = jobs_pb2.JobResult.FromString(answer)
            if _complete(spec, result.search_result):
                return result
        raise InternalError(f"{ctx.job.name} did not end after {spec.trials} trials.")


def _complete(spec: jobs_pb2.SearchSpec, result: jobs_pb2.SearchResult) -> bool:
    running = any(trial.state == jobs_pb2.TRIAL_STATE_RUNNING for trial in result.trials)
    enough = len(result.trials) >= spec.trials and not running
    found = result.HasField("best_trial")
    return enough and found and (result.HasField("train_result") or not spec.make_version)
