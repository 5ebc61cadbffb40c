"""The task of the training child: from a TrainSpec to stored weights."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict

from biosegment.client.connection import Connection
from biosegment.client.geometry import Box, shape_of
from biosegment.client.stubs import SyncStubs
from biosegment.nets import weights
from biosegment.nets.weights import Weights
from biosegment.runtime import objects
from biosegment.runtime.child import ChildContext
from biosegment.training import labelled
from biosegment.training.child import finders, fresh, held_out, precision
from biosegment.training.child.early_stopping import EarlyStopping
from biosegment.training.child.fit import fit
from biosegment.training.child.pretrain import draw_crops, pretrain
from biosegment.training.child.samples import CropSampler, Sample
from biosegment.training.child.settings import Hooks, Outcome
from biosegment.training.child.task import (
    Task,
    labels_told,
    read_labels,
    read_raw,
    read_samples,
    reference_of,
    settings_of,
    starting_point,
)
from biosegment.v1 import jobs_pb2, registry_pb2, types_pb2

_REPORT_SECONDS = 0.5
_JOB_NOTE, _METRICS_NOTE, _RESUMED_NOTE = "job", "metrics", "resumed_from_step"
_SETTINGS_NOTE, _WARNINGS_NOTE, _REFERENCE_NOTE = "settings", "warnings", "reference"


def train(
    context: ChildContext, *, connection: str, spec: bytes, job: str, parts: int = 1
) -> bytes:
    """Trains a model version.

    An attempt that was cut off after its weights were stored is not repeated: its result is told
    again. One that was cut off before goes on from its last checkpoint.

    Args:
        context: Of the child.
        connection: Path of the connection file.
        spec: A TrainSpec with every default filled in.
        job: projects/p/jobs/j
        parts: Pieces that batches are cut into, where an earlier try ran out of memory.

    Returns:
        A JobResult with a TrainResult.

    Raises:
        FailedPreconditionError: Nothing or one class alone is labelled, the region is smaller than
            a crop, the base version is damaged or of another network, or training diverged.
        JobCancelledError: The parent asked to stop.
        OutOfMemoryError: The device has too little memory even for one crop at a time.
    """
    parsed = jobs_pb2.TrainSpec.FromString(spec)
    with SyncStubs(Connection.load(Path(connection))) as stubs:
        model = stubs.registry.GetModel(registry_pb2.GetModelRequest(name=parsed.model)).model
        task = Task(context, stubs, parsed, job, model)
        return (_earlier(task) or _train(task, parts)).SerializeToString()


def _earlier(task: Task) -> jobs_pb2.JobResult | None:
    data = task.read(task.weights_name)
    if data is None:
        return None
    notes = weights.load(data, what=task.weights_name).notes
    return result_of(task, data) if notes.get(_JOB_NOTE) == task.job else None


def result_of(task: Task, data: bytes) -> jobs_pb2.JobResult:
    """The result of a job, from what its weights say."""
    notes = weights.load(data, what=task.weights_name).notes
    found = notes.get(_REFERENCE_NOTE)
    result = jobs_pb2.TrainResult(
        weights=task.weights_name,
        sha256=weights.sha256(data),
        metrics=notes[_METRICS_NOTE],
        resumed_from_step=notes[_RESUMED_NOTE],
        settings=ParseDict(notes.get(_SETTINGS_NOTE, {}), jobs_pb2.TrainingSettings()),
        logs=task.logs_name,
        reference=ParseDict(found, types_pb2.InputReference()) if found else None,
    )
    return jobs_pb2.JobResult(train_result=result, warnings=notes.get(_WARNINGS_NOTE, []))


def _train(task: Task, parts: int) -> jobs_pb2.JobResult:
    started = time.monotonic()
    restore = task.spec.objective == jobs_pb2.TRAINING_OBJECTIVE_RESTORATION
    made = _restore(task, parts) if restore else _fit(task, parts)
    metrics = made.metrics | figures(made.outcome) | {"seconds": time.monotonic() - started}
    data = dump(task, made.start, made.used, made.outcome, metrics, made.warnings)
    task.context.check()
    objects.write(task.stubs, task.weights_name, data)
    objects.delete(task.stubs, task.checkpoint_name)
    objects.delete(task.stubs, _found_name(task))
    return result_of(task, data)


def figures(outcome: Outcome) -> dict[str, float]:
    """What the record keeps of an outcome."""
    return {
        "loss": outcome.loss,
        "loss_first": outcome.first_loss,
        "steps": float(outcome.steps),
        "parts": float(outcome.parts),
        **outcome.held_out,
        **outcome.ending,
    }


def dump(
    task: Task,
    start: Weights,
    used: jobs_pb2.TrainingSettings,
    outcome: Outcome,
    metrics: dict[str, float],
    warnings: Sequence[str] = (),
) -> bytes:
    """Trained weights as a file that says how they came to be."""
    notes: dict[str, Any] = {
        _JOB_NOTE: task.job,
        _METRICS_NOTE: metrics,
        _RESUMED_NOTE: outcome.resumed_from_step,
        _SETTINGS_NOTE: MessageToDict(used),
        _WARNINGS_NOTE: list(warnings),
    }
    reference = reference_of(task)
    if reference is not None:
        notes[_REFERENCE_NOTE] = MessageToDict(reference)
    return weights.dump(
        Weights(start.module, start.architecture, start.parameters, start.classes, notes)
    )


@dataclass(frozen=True, slots=True)
class _Trained:
    """What a run came to.

    Attributes:
        start: The network, trained in place.
        used: The settings as used.
        outcome: How the steps went.
        metrics: Further figures.
        warnings: What whoever uses the version should know.
    """

    start: Weights
    used: jobs_pb2.TrainingSettings
    outcome: Outcome
    metrics: dict[str, float]
    warnings: Sequence[str] = ()


def _fit(task: Task, parts: int) -> _Trained:
    _tell(task, "reading annotations")
    samples = read_samples(task)
    counted, warnings = labels_told(task, samples)
    seed = task.spec.settings.seed
    start = starting_point(task.stubs, task.model, task.spec.base_version, seed, samples)
    measured = _fresh(task, start)
    used = _used(task)
    kept, held = divide(samples, used)
    if used.HasField("hold_out") and not held:
        warnings.append(labelled.not_held_out(len(samples), held_out.FEWEST))
    found = _found(task, start, kept, used, parts)
    outcome = fit_samples(task, start, samples, used, hooks(task, used.steps), parts)
    return _Trained(start, used, outcome, found | measured | counted, warnings)


def _fresh(task: Task, start: Weights) -> dict[str, float]:
    """How well the base version does on what was labelled since, before it learns from it."""
    boxes = [Box.from_proto(box) for box in task.spec.fresh]
    if not boxes or not task.spec.base_version:
        return {}
    _tell(task, "measuring the version before")
    samples = read_samples(task, fresh.labels_in(boxes, read_labels(task)))
    patch = shape_of(task.spec.settings.patch)
    return fresh.figures(start.module, samples, start.classes, patch)


def divide(
    samples: list[Sample], settings: jobs_pb2.TrainingSettings
) -> tuple[list[Sample], list[Sample]]:
    """Samples to train on and samples held out, as the settings have it."""
    if not settings.HasField("hold_out"):
        return samples, []
    return held_out.split(samples, settings.hold_out.fraction, settings.seed)


def fit_samples(
    task: Task,
    start: Weights,
    samples: list[Sample],
    used: jobs_pb2.TrainingSettings,
    told: Hooks,
    parts: int = 1,
) -> Outcome:
    """Trains on samples, with those held out that the settings want, from the newest checkpoint."""
    settings = settings_of(used, parts=parts)
    kept, held = divide(samples, used)
    sampler = CropSampler(
        kept, patch=settings.patch, batch_size=settings.batch_size, seed=settings.seed
    )
    stopping = None
    if held:
        trained = bool(task.spec.base_version)
        stopping = EarlyStopping(held, start.classes, settings, told, trained=trained)
    return fit(
        start.module,
        sampler,
        settings,
        told,
        checkpoint=task.read(task.checkpoint_name),
        stopping=stopping,
    )


def _restore(task: Task, parts: int) -> _Trained:
    _tell(task, "reading raw voxels")
    used = _used(task)
    settings = settings_of(used, parts=parts)
    crops = draw_crops(
        read_raw(task).read,
        Box.from_proto(task.spec.region),
        settings.patch,
        neighbours=task.footprint.neighbours,
        seed=settings.seed,
        check=task.context.check,
    )
    start = starting_point(task.stubs, task.model, "", settings.seed, [])
    told = hooks(task, settings.steps)
    checkpoint = task.read(task.checkpoint_name)
    outcome = pretrain(start.module, crops, settings, told, checkpoint=checkpoint)
    return _Trained(start, used, outcome, {"crops": float(len(crops))})


def _used(task: Task) -> jobs_pb2.TrainingSettings:
    """The settings with the precision of this machine."""
    used = jobs_pb2.TrainingSettings()
    used.CopyFrom(task.spec.settings)
    used.precision = precision.chosen(used.precision)
    return used


def _found_name(task: Task) -> str:
    return f"{task.folder}/found"


def _found(
    task: Task, start: Weights, samples: list[Sample], used: jobs_pb2.TrainingSettings, parts: int
) -> dict[str, float]:
    """Finds what the settings leave to be found, once per job, and puts it into them.

    Returns:
        What was found, by name.
    """
    rate, batch = used.find_learning_rate, used.find_batch_size
    used.find_learning_rate = used.find_batch_size = False
    if not rate and not batch:
        return {}
    stored = task.read(_found_name(task))
    if stored is None:
        _tell(task, "finding learning rate" if rate else "finding batch size")
        settings = finders.find(
            start.module,
            samples,
            settings_of(used, parts=parts),
            learning_rate=rate,
            # A device that ran out of memory before is not tried again.
            batch_size=batch and parts == 1,
            check=task.context.check,
        )
        used.learning_rate, used.batch_size = settings.learning_rate, settings.batch_size
        # Kept, so that a later attempt goes on with the same settings.
        objects.write(task.stubs, _found_name(task), used.SerializeToString())
    else:
        found = jobs_pb2.TrainingSettings.FromString(stored)
        used.learning_rate, used.batch_size = found.learning_rate, found.batch_size
    made = {"found_learning_rate": used.learning_rate} if rate else {}
    return made | ({"found_batch_size": float(used.batch_size)} if batch else {})


def _tell(task: Task, stage: str) -> None:
    task.context.report({"done": 0, "total": task.spec.settings.steps, "stage": stage})


def hooks(task: Task, steps: int, *, report: Callable[[int, float], None] | None = None) -> Hooks:
    """What tells of a run: progress twice a second, checkpoints and curves to the store.

    Args:
        task: The run.
        steps: Steps in all.
        report: Tells of (steps done, loss) in another way.
    """
    told = 0.0
    expected = steps
    left: float | None = None

    def paced(in_all: int, seconds: float) -> None:
        nonlocal expected, left
        expected, left = in_all, seconds

    def tell(step: int, loss: float) -> None:
        task.context.report(
            {
                "done": step,
                "total": max(step, expected),
                "stage": "training",
                "figures": {"loss": loss},
                "seconds_left": left,
            }
        )

    def progress(step: int, loss: float) -> None:
        nonlocal told
        if step == steps or time.monotonic() - told >= _REPORT_SECONDS:
            told = time.monotonic()
            (report or tell)(step, loss)

    return Hooks(
        progress=progress,
        store=lambda data: objects.write(task.stubs, task.checkpoint_name, data),
        cancelled=lambda: task.context.cancelled,
        log=task.event_log(),
        finishing=lambda: task.context.finishing,
        paced=paced,
    )
