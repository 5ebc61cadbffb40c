"""What a training run works on: where its objects lie, its labels, its network."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray

from biosegment.client import names
from biosegment.client.arrays import unpack_mask
from biosegment.client.errors import FailedPreconditionError, NotFoundError
from biosegment.client.geometry import Box, shape_of
from biosegment.client.stubs import SyncStubs
from biosegment.nets import catalog, reference, weights
from biosegment.nets.architectures import build
from biosegment.nets.footprint import Footprint
from biosegment.nets.intensity import check_dtype, unit_scale
from biosegment.nets.picture import Picture
from biosegment.nets.weights import Weights
from biosegment.runtime import objects
from biosegment.runtime.arrays import VolumeArray
from biosegment.runtime.child import ChildContext
from biosegment.training import labelled
from biosegment.training.child import log_replay
from biosegment.training.child.event_log import EventLog
from biosegment.training.child.log_replay import LabelPatch
from biosegment.training.child.samples import (
    Sample,
    collect,
    input_statistics,
    labelled_voxels,
)
from biosegment.training.child.settings import HoldOut, Settings
from biosegment.v1 import annotations_pb2, jobs_pb2, registry_pb2, types_pb2

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Task:
    """A training run of a job, and where its objects lie.

    Attributes:
        context: Of the child.
        stubs: To reach the platform.
        spec: What to train, every default filled in.
        job: projects/p/jobs/j
        model: The model.
        part: Below the job's folder, for jobs that train more than once; empty for one run.
    """

    context: ChildContext
    stubs: SyncStubs
    spec: jobs_pb2.TrainSpec
    job: str
    model: registry_pb2.Model
    part: str = ""

    @property
    def footprint(self) -> Footprint:
        """How the network looks at a volume."""
        parameters = catalog.resolve(self.model.architecture, MessageToDict(self.model.parameters))
        return catalog.find(self.model.architecture).footprint(parameters)

    @property
    def folder(self) -> str:
        """Object name of the folder of everything but the weights."""
        project, job = names.parse(names.JOB, self.job)
        return f"projects/{project}/objects/jobs/{job}" + (f"/{self.part}" if self.part else "")

    @property
    def weights_name(self) -> str:
        """Object name of the weights that the job makes."""
        project, model = names.parse(names.MODEL, self.spec.model)
        _, job = names.parse(names.JOB, self.job)
        return f"projects/{project}/objects/models/{model}/{job}.safetensors"

    @property
    def checkpoint_name(self) -> str:
        """Object name of the newest checkpoint."""
        return f"{self.folder}/checkpoint"

    @property
    def logs_name(self) -> str:
        """Object name of the folder with the event files; empty where nothing can write them."""
        return f"{self.folder}/logs" if EventLog.available() else ""

    def event_log(self) -> EventLog | None:
        """Where the curves go."""
        folder = self.logs_name
        if not folder:
            return None
        return EventLog(lambda name, data: objects.write(self.stubs, f"{folder}/{name}", data))

    def read(self, name: str) -> bytes | None:
        """An object, None where there is none."""
        try:
            return objects.read(self.stubs, name)
        except NotFoundError:
            return None


def settings_of(settings: jobs_pb2.TrainingSettings, *, parts: int = 1) -> Settings:
    """The settings of a message whose defaults are filled in.

    Args:
        settings: The message.
        parts: Pieces that batches are cut into from the start.
    """
    hold_out = None
    if settings.HasField("hold_out"):
        hold_out = HoldOut(
            fraction=settings.hold_out.fraction,
            every_steps=settings.hold_out.every_steps,
            patience=settings.hold_out.patience,
        )
    return Settings(
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        patch=shape_of(settings.patch),
        seed=settings.seed,
        checkpoint_steps=settings.checkpoint_steps,
        dice_weight=settings.dice_weight,
        hold_out=hold_out,
        precision=settings.precision,
        parts=min(parts, settings.batch_size),
        max_seconds=settings.max_seconds,
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
        version = _base_of(stubs, base_version)
        what = f"The weights of {base_version}"
        base = weights.load(
            objects.read(stubs, version.weights),
            expected_sha256=version.sha256,
            what=what,
        )
        weights.check_fits(base, model.architecture, parameters, list(model.classes), what)
        return base
    torch.manual_seed(seed)
    module = build(model.architecture, parameters, len(model.classes))
    if samples:
        module.set_input_statistics(*input_statistics(samples))
    return Weights(module, model.architecture, parameters, tuple(model.classes))


def read_raw(task: Task) -> VolumeArray:
    """The raw volume of the data set, open.

    Raises:
        FailedPreconditionError: Its type is none that networks take.
    """
    answer = task.stubs.registry.GetDataset(registry_pb2.GetDatasetRequest(name=task.spec.dataset))
    raw = VolumeArray.open(task.stubs, answer.dataset.raw_volume).ready()
    check_dtype(raw.dtype, raw.volume.name)
    return raw


def reference_of(task: Task) -> types_pb2.InputReference | None:
    """What raw data will look like to the version: as to its base, or as the data set is stored.

    None for a base of which that is not known any more.
    """
    if task.spec.base_version:
        return reference.reference_of(task.stubs, _base_of(task.stubs, task.spec.base_version))
    return reference.describe(task.stubs, task.spec.dataset, read_raw(task))


def _base_of(stubs: SyncStubs, name: str) -> registry_pb2.ModelVersion:
    request = registry_pb2.GetModelVersionRequest(name=name)
    version: registry_pb2.ModelVersion = stubs.registry.GetModelVersion(request).version
    return version


def _reader(task: Task, raw: VolumeArray, picture: Picture) -> Callable[[Box], NDArray[Any]]:
    """Reads voxels; on the scale that the base version learnt on, if there is one."""
    if not task.spec.base_version:
        return picture.read
    grey = reference.map_of(task.stubs, _base_of(task.stubs, task.spec.base_version), raw)
    if grey.plain:
        return picture.read
    return lambda box: unit_scale(picture.read(box), grey)


def read_labels(task: Task) -> list[LabelPatch]:
    """What is annotated up to the pinned revision.

    Raises:
        ResourceExhaustedError: It is more than one run keeps in memory.
    """
    return log_replay.replay(_commits(task))


def read_samples(task: Task, patches: Sequence[LabelPatch] | None = None) -> list[Sample]:
    """Annotated patches with their surroundings, those that hold a class of the model.

    Args:
        task: The run.
        patches: The patches; None takes all that ``read_labels`` has.

    Raises:
        FailedPreconditionError: None of all has a class of the model.
        ResourceExhaustedError: They are more than one run keeps in memory.
    """
    raw = read_raw(task)
    picture = Picture.of(task.stubs, raw)
    samples = collect(
        read_labels(task) if patches is None else patches,
        read=_reader(task, raw, picture),
        padding=picture.padding,
        shape=raw.shape(),
        classes=list(task.model.classes),
        patch=shape_of(task.spec.settings.patch),
        neighbours=task.footprint.neighbours,
        check=task.context.check,
    )
    if not samples and patches is None:
        raise FailedPreconditionError(
            f"Revision {task.spec.revision} of {task.spec.dataset} labels no voxel with a class of "
            f"{task.model.name} ({', '.join(map(str, task.model.classes))}). Annotate some first."
        )
    return samples


def labels_told(task: Task, samples: list[Sample]) -> tuple[dict[str, float], list[str]]:
    """How much is labelled, for the record, and what is to be said of classes without labels.

    Raises:
        FailedPreconditionError: Only one class is labelled, and nothing else was learnt before.
    """
    counts = labelled_voxels(samples, task.model.classes)
    answer = task.stubs.registry.ListLabelClasses(
        registry_pb2.ListLabelClassesRequest(parent=names.project_of(task.spec.dataset))
    )
    called = {found.value: found.display_name for found in answer.label_classes}
    warnings = labelled.check(counts, task.spec, called)
    figures = {f"labelled_voxels_{value}": float(voxels) for value, voxels in counts.items()}
    figures["labelled_voxels"] = float(sum(counts.values()))
    return figures | {"patches": float(len(samples))}, warnings


def _commits(task: Task) -> Iterator[tuple[Box, NDArray[Any]]]:
    """The commits up to the pinned revision, page by page."""
    request = annotations_pb2.ListAnnotationsRequest(
        parent=task.spec.dataset,
        page_size=_PAGE,
        until_revision=task.spec.revision,
        with_masks=True,
    )
    while True:
        task.context.check()
        page = task.stubs.annotations.ListAnnotations(request)
        for commit in page.annotations:
            box = Box.from_proto(commit.box)
            yield box, unpack_mask(commit.mask, commit.compression, box.shape)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
