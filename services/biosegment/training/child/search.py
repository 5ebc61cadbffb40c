"""The task of a search: one trial at a time, each a training run with a part held out.

The state of a search is one object, a SearchResult, which is written before a trial begins, after
each measurement and when it has ended. A trial that was interrupted goes on with its values from
its checkpoint; nothing else need survive.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from biosegment.client.connection import Connection
from biosegment.client.errors import FailedPreconditionError, OutOfMemoryError
from biosegment.client.stubs import SyncStubs
from biosegment.nets.weights import Weights
from biosegment.runtime import objects
from biosegment.runtime.child import ChildContext
from biosegment.training.child import precision
from biosegment.training.child.held_out import FEWEST
from biosegment.training.child.run import divide, dump, figures, fit_samples, hooks, result_of
from biosegment.training.child.samples import Sample
from biosegment.training.child.task import Task, labels_told, read_samples, starting_point
from biosegment.training.child.trials import hopeless, suggest, value_of
from biosegment.training.search_state import state_name
from biosegment.v1 import jobs_pb2, registry_pb2

RUNNING = jobs_pb2.TRIAL_STATE_RUNNING


@dataclass(frozen=True, slots=True)
class _Search:
    task: Task
    spec: jobs_pb2.SearchSpec
    state: jobs_pb2.SearchResult

    def save(self) -> None:
        data = self.state.SerializeToString()
        objects.write(self.task.stubs, state_name(self.task.job), data)

    def ended(self) -> list[jobs_pb2.Trial]:
        return [trial for trial in self.state.trials if trial.state != RUNNING]

    def best_iou(self) -> float | None:
        if not self.state.HasField("best_trial"):
            return None
        return self.state.trials[self.state.best_trial].iou

    def weights_name(self, number: int) -> str:
        return f"{self.task.folder}/trials/{number}/weights"


def next_trial(
    context: ChildContext, *, connection: str, spec: bytes, job: str, parts: int = 1
) -> bytes:
    """Does the next trial of a search, or ends the search where all are done.

    Args:
        context: Of the child.
        connection: Path of the connection file.
        spec: A SearchSpec with every default filled in.
        job: projects/p/jobs/j
        parts: Pieces that batches are cut into, where an earlier try ran out of memory.

    Returns:
        A JobResult with a SearchResult: what was found so far.

    Raises:
        FailedPreconditionError: There are too few patches to hold some out, the base version is
            damaged, or every trial failed.
        JobCancelledError: The parent asked to stop.
    """
    parsed = jobs_pb2.SearchSpec.FromString(spec)
    with SyncStubs(Connection.load(Path(connection))) as stubs:
        name = parsed.training.model
        model = stubs.registry.GetModel(registry_pb2.GetModelRequest(name=name)).model
        task = Task(context, stubs, parsed.training, job, model)
        stored = task.read(state_name(job))
        search = _Search(task, parsed, jobs_pb2.SearchResult.FromString(stored or b""))
        if len(search.ended()) < parsed.trials:
            _do(search, parts)
            return jobs_pb2.JobResult(search_result=search.state).SerializeToString()
        return _end(search).SerializeToString()


def _do(search: _Search, parts: int) -> None:
    samples = read_samples(search.task)
    labels = labels_told(search.task, samples)
    before = search.ended()
    number = len(before)
    if number == len(search.state.trials):
        values = suggest(search.spec.parameters, before, search.spec.training.settings)
        search.state.trials.append(jobs_pb2.Trial(number=number, state=RUNNING, values=values))
        search.save()
    trial = search.state.trials[number]
    used = jobs_pb2.TrainingSettings()
    used.CopyFrom(search.spec.training.settings)
    used.precision = precision.chosen(used.precision)
    for name, value in trial.values.items():
        setattr(used, name, value_of(name, value))
    if not divide(samples, used)[1]:
        raise FailedPreconditionError(
            f"A search compares trials on patches that are held out, and needs at least {FEWEST} "
            f"labelled patches, two of them with foreground; revision "
            f"{search.spec.training.revision} has {len(samples)} patches. Annotate some more."
        )
    task = replace(search.task, part=f"trials/{number}")
    start = starting_point(task.stubs, task.model, task.spec.base_version, used.seed, samples)
    _train(search, task, trial, start, samples, labels, used, parts)
    objects.delete(task.stubs, task.checkpoint_name)


def _train(
    search: _Search,
    task: Task,
    trial: jobs_pb2.Trial,
    start: Weights,
    samples: list[Sample],
    labels: tuple[dict[str, float], list[str]],
    used: jobs_pb2.TrainingSettings,
    parts: int,
) -> None:
    started = time.monotonic()
    cut = False

    def measured(step: int, iou: float) -> bool:
        nonlocal cut
        trial.measurements[step] = iou
        trial.iou = max(trial.measurements.values())
        search.save()
        cut = hopeless(search.spec.parameters, search.ended(), trial, used.steps)
        return cut

    told = replace(hooks(task, used.steps, report=_report(search, trial, used)), measured=measured)
    former = search.state.best_trial if search.state.HasField("best_trial") else None
    try:
        outcome = fit_samples(task, start, samples, used, told, parts)
        trial.state = jobs_pb2.TRIAL_STATE_PRUNED if cut else jobs_pb2.TRIAL_STATE_DONE
    except (FailedPreconditionError, OutOfMemoryError) as error:
        trial.state, trial.error = jobs_pb2.TRIAL_STATE_FAILED, error.message
        trial.ClearField("iou")
    trial.seconds = time.monotonic() - started
    best = search.best_iou()
    if trial.state == jobs_pb2.TRIAL_STATE_DONE and (best is None or trial.iou > best):
        search.state.best_trial = trial.number
        search.state.best_settings.CopyFrom(used)
        if search.spec.make_version:
            counted, warnings = labels
            metrics = figures(outcome) | counted | {"trial": float(trial.number)}
            data = dump(task, start, used, outcome, metrics, warnings)
            objects.write(task.stubs, search.weights_name(trial.number), data)
    search.save()
    if former is not None and former != search.state.best_trial:
        objects.delete(task.stubs, search.weights_name(former))


def _report(
    search: _Search, trial: jobs_pb2.Trial, used: jobs_pb2.TrainingSettings
) -> Callable[[int, float], None]:
    def report(step: int, loss: float) -> None:
        told = {"trial": float(trial.number), "loss": loss}
        best = search.best_iou()
        if best is not None:
            told["best_iou"] = best
        search.task.context.report(
            {
                "done": trial.number * used.steps + step,
                "total": search.spec.trials * used.steps,
                "stage": "searching",
                "figures": told,
            }
        )

    return report


def _end(search: _Search) -> jobs_pb2.JobResult:
    state, task = search.state, search.task
    if not state.HasField("best_trial"):
        raise FailedPreconditionError(
            f"None of the {len(state.trials)} trials could be trained to its end. The last one: "
            f"{state.trials[-1].error or 'was cut short'}"
        )
    if not search.spec.make_version:
        return jobs_pb2.JobResult(search_result=state)
    data = objects.read(task.stubs, search.weights_name(state.best_trial))
    task.context.check()
    objects.write(task.stubs, task.weights_name, data)
    made = result_of(task, data)
    state.train_result.CopyFrom(made.train_result)
    return jobs_pb2.JobResult(search_result=state, warnings=made.warnings)
