"""From a TrainSpec as asked to one that says everything, or a sentence that says what is wrong."""

import hashlib
import secrets
from dataclasses import dataclass

from google.protobuf.json_format import MessageToDict

from biosegment.client import arrays, names
from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.client.geometry import ZYX, Box, shape_of, shape_proto
from biosegment.client.stubs import AsyncStubs
from biosegment.nets import catalog, intensity
from biosegment.nets.families import Architecture
from biosegment.nets.parameters import Parameters
from biosegment.training import labelled
from biosegment.v1 import annotations_pb2, jobs_pb2, registry_pb2, storage_pb2

_STEPS = 500
_BATCH_SIZE = 8
_FRESH_RATE, _FINE_TUNING_RATE = 1e-3, 5e-4
_CHECKPOINT_STEPS = 100
_DICE_WEIGHT = 0.5
_HOLD_OUT, _MEASUREMENTS, _PATIENCE = 0.2, 20, 6
_MOST_FRESH_VOXELS = 1 << 28
_MAX_SECONDS = 30 * 24 * 3600.0
_MAX_STEPS, _MAX_BATCH, _MAX_PATCH, _MAX_SEED = 1_000_000, 1024, 4096, 2**31 - 1
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """A checked training.

    Attributes:
        spec: With its revision pinned and every default filled in.
        warnings: What whoever uses the version should know, as far as the record tells.
    """

    spec: jobs_pb2.TrainSpec
    warnings: list[str]


async def plan(
    stubs: AsyncStubs, parent: str, request_id: str, spec: jobs_pb2.TrainSpec
) -> TrainPlan:
    """Checks a training, pins its revision and fills in every default.

    Args:
        stubs: To reach registry and storage.
        parent: projects/p
        request_id: Of the request; the default seed comes from it, so that a repeat has the same.
        spec: As asked.

    Raises:
        InvalidArgumentError: A field is wrong, the base version belongs to another model, or a
            patch does not fit into the data set.
        NotFoundError: Model, version or data set do not exist.
        FailedPreconditionError: The revision holds labels of none or one of the model's classes, or
            the raw volume cannot be fed to a network.
    """
    names.parse(names.PROJECT, parent)
    for pattern, name in ((names.MODEL, spec.model), (names.DATASET, spec.dataset)):
        names.parse(pattern, name)
        if names.project_of(name) != parent:
            raise InvalidArgumentError(f"{name} does not belong to {parent}.", name=name)
    answer = await stubs.registry.GetModel(registry_pb2.GetModelRequest(name=spec.model))
    model = answer.model
    architecture = catalog.find(model.architecture)
    parameters = catalog.resolve(model.architecture, MessageToDict(model.parameters))
    catalog.check_classes(len(model.classes))
    await _check_base(stubs, spec)
    found = await stubs.registry.GetDataset(registry_pb2.GetDatasetRequest(name=spec.dataset))
    dataset = found.dataset
    await _check_raw(stubs, dataset.raw_volume)
    _check_fresh(dataset, spec)
    made = jobs_pb2.TrainSpec()
    made.CopyFrom(spec)
    warnings: list[str] = []
    if spec.objective == jobs_pb2.TRAINING_OBJECTIVE_RESTORATION:
        made.region.CopyFrom(_region(dataset, spec).to_proto())
    else:
        made.objective = jobs_pb2.TRAINING_OBJECTIVE_LABELS
        made.revision = _revision(dataset, spec)
        warnings += await _check_labels(stubs, made, model)
    room = Box.from_proto(made.region) if made.HasField("region") else None
    shape = room.shape if room else shape_of(dataset.shape)
    made.settings.CopyFrom(
        settings(
            spec.settings,
            architecture,
            parameters,
            fresh=not spec.base_version,
            seed=_seed_of(request_id),
            shape=shape,
        )
    )
    patch = shape_of(made.settings.patch)
    if room:
        _check_room(room, patch)
    _check_patch(spec.dataset, shape, patch, architecture.footprint(parameters).stride)
    return TrainPlan(made, warnings)


def _check_fresh(dataset: registry_pb2.Dataset, spec: jobs_pb2.TrainSpec) -> None:
    """Accepts boxes that the base version can be measured on in memory.

    Raises:
        InvalidArgumentError: There is no version to measure, or they are too large.
        OutsideVolumeError: One leaves the data set.
    """
    if spec.fresh and not spec.base_version:
        raise InvalidArgumentError(
            "There is no version to measure on fresh labels: name a base version, or leave the "
            "boxes out.",
            field="spec.fresh",
        )
    shape, what = shape_of(dataset.shape), f"the data set {dataset.name}"
    voxels = sum(Box.from_proto(box).within(shape, what).voxels for box in spec.fresh)
    if voxels > _MOST_FRESH_VOXELS:
        raise InvalidArgumentError(
            f"{voxels} voxels are more than a version is measured on before a training "
            f"({_MOST_FRESH_VOXELS}); name fewer or smaller boxes.",
            field="spec.fresh",
        )


def _check_patch(dataset: str, shape: ZYX, patch: ZYX, step: ZYX) -> None:
    """Accepts patches that the data set can fill, up to what the network's steps need beyond.

    Raises:
        InvalidArgumentError: The rest would be the data set's mirror image, read and learnt in
            vain.
    """
    most = _fitting(patch, step, shape)
    if any(
        size > -(-extent // by) * by for size, by, extent in zip(patch, step, shape, strict=True)
    ):
        raise InvalidArgumentError(
            f"A patch of {' × '.join(map(str, patch))} voxels (z, y, x) is larger than {dataset}, "
            f"which has {' × '.join(map(str, shape))}. Take --patch {','.join(map(str, most))} or "
            "a smaller one.",
            field="spec.settings.patch",
        )


def _fitting(patch: ZYX, step: ZYX, shape: ZYX) -> ZYX:
    """The patch, smaller in a small volume; a multiple of the network's step all the same."""
    z, y, x = (
        max(by, min(size, extent // by * by))
        for size, by, extent in zip(patch, step, shape, strict=True)
    )
    return z, y, x


async def _check_base(stubs: AsyncStubs, spec: jobs_pb2.TrainSpec) -> None:
    if not spec.base_version:
        return
    names.parse_int(names.VERSION, spec.base_version)
    if spec.base_version.rpartition("/versions/")[0] != spec.model:
        raise InvalidArgumentError(
            f"{spec.base_version} is no version of {spec.model}; fine-tuning goes on from a "
            "version of the same model, or from fresh weights where base_version is empty.",
            field="spec.base_version",
        )
    await stubs.registry.GetModelVersion(
        registry_pb2.GetModelVersionRequest(name=spec.base_version)
    )


def _region(dataset: registry_pb2.Dataset, spec: jobs_pb2.TrainSpec) -> Box:
    """The voxels to restore, all unless said otherwise."""
    asked = spec.settings
    if asked.HasField("hold_out") or asked.find_learning_rate or asked.find_batch_size:
        raise InvalidArgumentError(
            "Restoration has no labels to hold out, and finds neither learning rate nor batch "
            "size: leave them out of its settings.",
            field="spec.settings",
        )
    if spec.base_version or spec.revision:
        raise InvalidArgumentError(
            "Restoration begins with fresh weights and needs no labels: leave base_version and "
            "revision empty.",
            field="spec",
        )
    shape = shape_of(dataset.shape)
    box = Box.from_proto(spec.region) if spec.HasField("region") else Box.of_shape(shape)
    return box.within(shape, f"the data set {spec.dataset}")


def _check_room(region: Box, patch: ZYX) -> None:
    if any(size > extent for size, extent in zip(patch, region.shape, strict=True)):
        raise InvalidArgumentError(
            f"The region {region} is smaller than a crop of {' × '.join(map(str, patch))} voxels "
            "(z, y, x). Take a larger region or a smaller patch.",
            field="spec.region",
        )


def _revision(dataset: registry_pb2.Dataset, spec: jobs_pb2.TrainSpec) -> int:
    if not 0 <= spec.revision <= dataset.revision:
        raise InvalidArgumentError(
            f"{spec.dataset} has no revision {spec.revision}; its newest is {dataset.revision}.",
            field="spec.revision",
        )
    return spec.revision or dataset.revision


async def _check_labels(
    stubs: AsyncStubs, spec: jobs_pb2.TrainSpec, model: registry_pb2.Model
) -> list[str]:
    """Looks at which classes were ever labelled; what of it still stands, the training sees.

    Returns:
        What is to be said of classes without labels.

    Raises:
        FailedPreconditionError: There are labels of none of the classes, or of one alone.
    """
    voxels = dict.fromkeys(model.classes, 0)
    if spec.revision:
        await _count_labels(stubs, spec, voxels)
    if not any(voxels.values()):
        raise FailedPreconditionError(
            f"Revision {spec.revision} of {spec.dataset} holds no labels of the classes of "
            f"{model.name} ({', '.join(map(str, model.classes))}). Annotate some voxels first.",
            name=spec.dataset,
        )
    answer = await stubs.registry.ListLabelClasses(
        registry_pb2.ListLabelClassesRequest(parent=names.project_of(spec.dataset))
    )
    called = {found.value: found.display_name for found in answer.label_classes}
    return labelled.check(voxels, spec, called)


async def _check_raw(stubs: AsyncStubs, name: str) -> None:
    answer = await stubs.storage.GetVolume(storage_pb2.GetVolumeRequest(name=name))
    intensity.check_dtype(arrays.dtype_of(answer.volume.data_type), name)
    if answer.volume.channels:
        raise FailedPreconditionError(
            f"{name} has {answer.volume.channels} channels; networks take volumes of one.",
            name=name,
        )


async def _count_labels(
    stubs: AsyncStubs, spec: jobs_pb2.TrainSpec, commits: dict[int, int]
) -> None:
    """Counts commits by class, until there is one of each."""
    request = annotations_pb2.ListAnnotationsRequest(
        parent=spec.dataset, page_size=_PAGE, until_revision=spec.revision
    )
    while True:
        page = await stubs.annotations.ListAnnotations(request)
        for commit in page.annotations:
            for value in set(commit.classes).intersection(commits):
                commits[value] += 1
        if all(commits.values()) or not page.next_page_token:
            return
        request.page_token = page.next_page_token


def settings(
    asked: jobs_pb2.TrainingSettings,
    architecture: Architecture,
    parameters: Parameters,
    *,
    fresh: bool,
    seed: int,
    shape: ZYX | None = None,
) -> jobs_pb2.TrainingSettings:
    """Training settings with every default filled in.

    Args:
        asked: Zero values mean the defaults.
        architecture: Of the model.
        parameters: Of the architecture, complete.
        fresh: Whether training begins with fresh weights.
        seed: The default seed.
        shape: Extent of the voxels there are, which the default patch is not to exceed.

    Raises:
        InvalidArgumentError: A value is out of range.
    """
    strides = architecture.footprint(parameters).stride
    default = architecture.patch(parameters)
    usual = default if shape is None else _fitting(default, strides, shape)
    patch = asked.patch if asked.HasField("patch") else shape_proto(usual)
    made = jobs_pb2.TrainingSettings(
        steps=asked.steps or _STEPS,
        batch_size=asked.batch_size or _BATCH_SIZE,
        learning_rate=asked.learning_rate or (_FRESH_RATE if fresh else _FINE_TUNING_RATE),
        patch=patch,
        seed=asked.seed or seed,
        checkpoint_steps=asked.checkpoint_steps or _CHECKPOINT_STEPS,
        dice_weight=asked.dice_weight if asked.HasField("dice_weight") else _DICE_WEIGHT,
        precision=asked.precision,
        find_learning_rate=asked.find_learning_rate,
        find_batch_size=asked.find_batch_size,
        max_seconds=asked.max_seconds,
    )
    if asked.HasField("hold_out"):
        made.hold_out.CopyFrom(_hold_out(asked.hold_out, made.steps))
    if asked.precision not in jobs_pb2.TrainingPrecision.values():
        raise InvalidArgumentError(
            f"There is no precision {asked.precision}; leave it open, or choose one of "
            f"{', '.join(jobs_pb2.TrainingPrecision.keys()[1:])}.",
            field="spec.settings.precision",
        )
    _between("steps", made.steps, 1, _MAX_STEPS)
    _between("batch_size", made.batch_size, architecture.smallest_batch, _MAX_BATCH)
    _between("learning_rate", made.learning_rate, 1e-9, 1.0)
    _between("seed", made.seed, 1, _MAX_SEED)
    _between("checkpoint_steps", made.checkpoint_steps, 1, _MAX_STEPS)
    _between("dice_weight", made.dice_weight, 0.0, 1.0)
    _between("max_seconds", made.max_seconds, 0.0, _MAX_SECONDS)
    for axis, size, stride in zip("zyx", shape_of(patch), strides, strict=True):
        _between(f"patch.{axis}", size, stride, _MAX_PATCH)
        if size % stride:
            raise InvalidArgumentError(
                f"patch.{axis} must be a multiple of {stride} for this architecture, not {size}.",
                field=f"spec.settings.patch.{axis}",
            )
    return made


def _hold_out(asked: jobs_pb2.HoldOut, steps: int) -> jobs_pb2.HoldOut:
    made = jobs_pb2.HoldOut(
        fraction=asked.fraction or _HOLD_OUT,
        every_steps=asked.every_steps or max(1, steps // _MEASUREMENTS),
        patience=asked.patience or _PATIENCE,
    )
    _between("hold_out.fraction", made.fraction, 0.01, 0.5)
    _between("hold_out.every_steps", made.every_steps, 1, _MAX_STEPS)
    _between("hold_out.patience", made.patience, 1, _MAX_STEPS)
    return made


def _between(name: str, value: float, low: float, high: float) -> None:
    # Written so that NaN fails.
    if not low <= value <= high:
        raise InvalidArgumentError(
            f"{name} must lie between {low:g} and {high:g}; it is {value:g}.",
            field=f"spec.settings.{name}",
        )


def _seed_of(request_id: str) -> int:
    if not request_id:
        return secrets.randbelow(_MAX_SEED) + 1
    digest = hashlib.sha256(request_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") % _MAX_SEED + 1
