"""The task of the training child: from a TrainSpec to stored weights."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray

from biosegment.client import names
from biosegment.client.arrays import unpack_mask
from biosegment.client.connection import Connection
from biosegment.client.errors import FailedPreconditionError, NotFoundError
from biosegment.client.geometry import Box, shape_of
from biosegment.client.stubs import SyncStubs
from biosegment.nets import catalog, weights
from biosegment.nets.architectures import build
from biosegment.nets.footprint import Footprint
from biosegment.nets.intensity import check_dtype
from biosegment.nets.weights import Weights
from biosegment.runtime import objects
from biosegment.runtime.arrays import VolumeArray
from biosegment.runtime.child import ChildContext
from biosegment.training.child import log_replay
from biosegment.training.child.fit import Hooks, Outcome, Settings, fit
from biosegment.training.child.pretrain import draw_crops, pretrain
from biosegment.training.child.samples import CropSampler, Sample, collect, input_statistics
from biosegment.v1 import annotations_pb2, jobs_pb2, registry_pb2

_PAGE = 200
_REPORT_SECONDS = 0.5
_JOB_NOTE, _METRICS_NOTE, _RESUMED_NOTE = "job", "metrics", "resumed_from_step"


@dataclass(frozen=True, slots=True)
class _Run:
    context: ChildContext
    stubs: SyncStubs
    spec: jobs_pb2.TrainSpec
    job: str
    model: registry_pb2.Model

    @property
    def footprint(self) -> Footprint:
        parameters = catalog.resolve(self.model.architecture, MessageToDict(self.model.parameters))
        return catalog.find(self.model.architecture).footprint(parameters)

    @property
    def weights_name(self) -> str:
        project, model = names.parse(names.MODEL, self.spec.model)
        _, job = names.parse(names.JOB, self.job)
        return f"projects/{project}/objects/models/{model}/{job}.safetensors"

    @property
    def checkpoint_name(self) -> str:
        project, job = names.parse(names.JOB, self.job)
        return f"projects/{project}/objects/jobs/{job}/checkpoint"


def train(context: ChildContext, *, connection: str, spec: bytes, job: str) -> bytes:
    """Trains a model version.

    An attempt that was cut off after its weights were stored is not repeated: its result is told
    again. One that was cut off before goes on from its last checkpoint.

    Args:
        context: Of the child.
        connection: Path of the connection file.
        spec: A TrainSpec with every default filled in.
        job: projects/p/jobs/j

    Returns:
        A TrainResult.

    Raises:
        FailedPreconditionError: Nothing is labelled, the region is smaller than a crop, the base
            version is damaged or of another network, or training diverged.
        JobCancelledError: The parent asked to stop.
        OutOfMemoryError: The device has too little memory.
    """
    parsed = jobs_pb2.TrainSpec.FromString(spec)
    with SyncStubs(Connection.load(Path(connection))) as stubs:
        model = stubs.registry.GetModel(registry_pb2.GetModelRequest(name=parsed.model)).model
        run = _Run(context, stubs, parsed, job, model)
        return (_earlier(run) or _train(run)).SerializeToString()


def _earlier(run: _Run) -> jobs_pb2.TrainResult | None:
    try:
        data = objects.read(run.stubs, run.weights_name)
    except NotFoundError:
        return None
    notes = weights.load(data, what=run.weights_name).notes
    if notes.get(_JOB_NOTE) != run.job:
        return None
    return jobs_pb2.TrainResult(
        weights=run.weights_name,
        sha256=weights.sha256(data),
        metrics=notes[_METRICS_NOTE],
        resumed_from_step=notes[_RESUMED_NOTE],
    )


def _train(run: _Run) -> jobs_pb2.TrainResult:
    started = time.monotonic()
    settings = settings_of(run.spec.settings)
    if run.spec.objective == jobs_pb2.TRAINING_OBJECTIVE_RESTORATION:
        start, outcome, metrics = _restore(run, settings)
    else:
        start, outcome, metrics = _fit(run, settings)
    metrics |= {
        "loss": outcome.loss,
        "loss_first": outcome.first_loss,
        "steps": float(settings.steps),
        "seconds": time.monotonic() - started,
    }
    notes = {
        _JOB_NOTE: run.job,
        _METRICS_NOTE: metrics,
        _RESUMED_NOTE: outcome.resumed_from_step,
    }
    data = weights.dump(
        Weights(start.module, start.architecture, start.parameters, start.classes, notes)
    )
    run.context.check()
    objects.write(run.stubs, run.weights_name, data)
    objects.delete(run.stubs, run.checkpoint_name)
    return jobs_pb2.TrainResult(
        weights=run.weights_name,
        sha256=weights.sha256(data),
        metrics=metrics,
        resumed_from_step=outcome.resumed_from_step,
    )


def _fit(run: _Run, settings: Settings) -> tuple[Weights, Outcome, dict[str, float]]:
    samples = _samples(run, settings)
    sampler = CropSampler(
        samples, patch=settings.patch, batch_size=settings.batch_size, seed=settings.seed
    )
    start = starting_point(run.stubs, run.model, run.spec.base_version, settings.seed, samples)
    hooks = _hooks(run, settings.steps)
    outcome = fit(start.module, sampler, settings, hooks, checkpoint=_checkpoint(run))
    return (
        start,
        outcome,
        {"labelled_voxels": float(sampler.labelled_voxels), "patches": float(len(samples))},
    )


def _restore(run: _Run, settings: Settings) -> tuple[Weights, Outcome, dict[str, float]]:
    run.context.report({"done": 0, "total": settings.steps, "stage": "reading raw voxels"})
    crops = draw_crops(
        _raw(run).read,
        Box.from_proto(run.spec.region),
        settings.patch,
        neighbours=run.footprint.neighbours,
        seed=settings.seed,
        check=run.context.check,
    )
    start = starting_point(run.stubs, run.model, "", settings.seed, [])
    hooks = _hooks(run, settings.steps)
    outcome = pretrain(start.module, crops, settings, hooks, checkpoint=_checkpoint(run))
    return start, outcome, {"crops": float(len(crops))}


def settings_of(settings: jobs_pb2.TrainingSettings) -> Settings:
    """The settings of a message whose defaults are filled in."""
    return Settings(
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        patch=shape_of(settings.patch),
        seed=settings.seed,
        checkpoint_steps=settings.checkpoint_steps,
        dice_weight=settings.dice_weight,
    )


def starting_point(
    stubs: SyncStubs,
    model: registry_pb2.Model,
    base_version: str,
    seed: int,
    samples: list[Sample],
) -> Weights:
    """The network to begin with: the base version's weights, or fresh ones.

    Fresh ones get the mean and standard deviation of the samples, if there are any, as input
    constants; a base version brings its own, since its first layer has learned with them.

    Raises:
        FailedPreconditionError: The base version is damaged or of another network.
        NotFoundError: Its weights are gone.
    """
    parameters: dict[str, Any] = catalog.resolve(
        model.architecture, MessageToDict(model.parameters)
    )
    if base_version:
        answer = stubs.registry.GetModelVersion(
            registry_pb2.GetModelVersionRequest(name=base_version)
        )
        what = f"The weights of {base_version}"
        base = weights.load(
            objects.read(stubs, answer.version.weights),
            expected_sha256=answer.version.sha256,
            what=what,
        )
        weights.check_fits(base, model.architecture, parameters, list(model.classes), what)
        return base
    torch.manual_seed(seed)
    module = build(model.architecture, parameters, len(model.classes))
    if samples:
        module.set_input_statistics(*input_statistics(samples))
    return Weights(module, model.architecture, parameters, tuple(model.classes))


def _raw(run: _Run) -> VolumeArray:
    answer = run.stubs.registry.GetDataset(registry_pb2.GetDatasetRequest(name=run.spec.dataset))
    raw = VolumeArray.open(run.stubs, answer.dataset.raw_volume).ready()
    check_dtype(raw.dtype, raw.volume.name)
    return raw


def _samples(run: _Run, settings: Settings) -> list[Sample]:
    run.context.report({"done": 0, "total": settings.steps, "stage": "reading annotations"})
    raw = _raw(run)
    patches = log_replay.replay(_commits(run))
    samples = collect(
        patches,
        read=raw.read,
        shape=raw.shape(),
        classes=list(run.model.classes),
        patch=settings.patch,
        neighbours=run.footprint.neighbours,
        check=run.context.check,
    )
    if not samples:
        raise FailedPreconditionError(
            f"Revision {run.spec.revision} of {run.spec.dataset} labels no voxel with a class of "
            f"{run.model.name} ({', '.join(map(str, run.model.classes))}). Annotate some first."
        )
    return samples


def _commits(run: _Run) -> Iterator[tuple[Box, NDArray[Any]]]:
    """The commits up to the pinned revision, page by page."""
    request = annotations_pb2.ListAnnotationsRequest(
        parent=run.spec.dataset,
        page_size=_PAGE,
        until_revision=run.spec.revision,
        with_masks=True,
    )
    while True:
        run.context.check()
        page = run.stubs.annotations.ListAnnotations(request)
        for commit in page.annotations:
            box = Box.from_proto(commit.box)
            yield box, unpack_mask(commit.mask, commit.compression, box.shape)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _checkpoint(run: _Run) -> bytes | None:
    try:
        return objects.read(run.stubs, run.checkpoint_name)
    except NotFoundError:
        return None


def _hooks(run: _Run, steps: int) -> Hooks:
    told = 0.0

    def progress(step: int, loss: float) -> None:
        nonlocal told
        if step == steps or time.monotonic() - told >= _REPORT_SECONDS:
            told = time.monotonic()
            run.context.report(
                {"done": step, "total": steps, "stage": "training", "figures": {"loss": loss}}
            )

    return Hooks(
        progress=progress,
        store=lambda data: objects.write(run.stubs, run.checkpoint_name, data),
        cancelled=lambda: run.context.cancelled,
    )
