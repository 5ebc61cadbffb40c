"""Checks an import before there is a job."""

import uuid
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from math import prod

from biosegment.client import names
from biosegment.client.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from biosegment.client.geometry import shape_of, shape_proto
from biosegment.client.label_values import LabelReader, ValueRule
from biosegment.client.stubs import AsyncStubs
from biosegment.ingest import voxel_size
from biosegment.ingest.looks import Looks, Source
from biosegment.ingest.readers.base import Reading, Stack
from biosegment.ingest.roots import Roots
from biosegment.v1 import jobs_pb2, registry_pb2, storage_pb2, types_pb2

FORMATS = {
    "": storage_pb2.VOLUME_FORMAT_OME_ZARR,
    "ome-zarr": storage_pb2.VOLUME_FORMAT_OME_ZARR,
    "n5": storage_pb2.VOLUME_FORMAT_N5,
}
# So many voxels of labels are checked before the answer; the job checks all.
_CHECKED_VOXELS = 2 << 30
# More than a project can have.
_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """A checked import.

    Attributes:
        spec: As asked, with the voxel size filled in.
        preview: What it will make.
        warnings: What whoever imports should know, in sentences.
    """

    spec: jobs_pb2.ImportSpec
    preview: jobs_pb2.ImportResult
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sources:
    """What imports may read, and the processes that look at it.

    Attributes:
        looks: The processes.
        roots: The allowed folders.
        key: What proves that somebody may read other files; None where nobody can.
    """

    looks: Looks
    roots: Roots
    key: bytes | None = None

    async def look(self, spec: jobs_pb2.ImportSpec) -> Stack:
        """Finds and scans the source of an import.

        Raises:
            InvalidArgumentError: It cannot be read.
            PathNotAllowedError: It lies outside the roots.
            FailedPreconditionError: The file system does not answer.
        """
        reading = Reading.from_spec(spec)
        source = Source(self.roots, spec.volume, spec.grant, self.key)
        stack: Stack = await self.looks.run(
            "scan", path=spec.source_path, source=source, reading=reading
        )
        return stack


def label_view(dataset: str) -> str:
    """Name of the volume that shows a data set's annotation log.

    Args:
        dataset: projects/p/datasets/d

    Raises:
        InvalidArgumentError: The data set's id is too long or no id.
    """
    project, identity = names.parse(names.DATASET, dataset)
    names.check_id(f"{identity}-labels", "label volume of the data set")
    return names.VOLUME.format(project, f"{identity}-labels")


def request_id(job: str, volume: str) -> str:
    """Id of the request by which every attempt of a job makes a volume.

    It comes from the job, so that no other job's volume is ever taken for one of it.

    Args:
        job: projects/p/jobs/j
        volume: projects/p/volumes/v
    """
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{job}/{volume}"))


async def known_classes(stubs: AsyncStubs, project: str) -> list[int]:
    """Values in a project's class table."""
    answer = await stubs.registry.ListLabelClasses(
        registry_pb2.ListLabelClassesRequest(parent=project, page_size=_CLASSES)
    )
    return [label.value for label in answer.label_classes]


async def plan(
    stubs: AsyncStubs, sources: Sources, parent: str, spec: jobs_pb2.ImportSpec
) -> ImportPlan:
    """Checks everything about an import that can be known beforehand.

    Raises:
        InvalidArgumentError: The spec is incomplete, or the source cannot be read or does not fit.
        PathNotAllowedError: The source lies outside the roots.
        NotFoundError: There is no such project or data set.
        AlreadyExistsError: A name is taken.
    """
    names.parse(names.PROJECT, parent)
    names.parse(names.VOLUME, spec.volume)
    target = spec.WhichOneof("target")
    if target is None:
        raise InvalidArgumentError(
            "Say what the import makes: a data set, or labels of one.", field="spec.target"
        )
    if spec.format not in FORMATS:
        raise InvalidArgumentError(
            f'"{spec.format[:40]}" is not a format to store volumes in; use "ome-zarr" or "n5".',
            field="spec.format",
        )
    owner = spec.dataset.name if target == "dataset" else spec.labels.dataset
    names.parse(names.DATASET, owner)
    for name in (spec.volume, owner):
        if names.project_of(name) != parent:
            raise InvalidArgumentError(f"{name} does not belong to {parent}.", name=name)
    await stubs.registry.GetProject(registry_pb2.GetProjectRequest(name=parent))
    if target == "labels":
        await _refuse_volume(stubs, spec.volume)
    given = spec.voxel_size if spec.HasField("voxel_size") else None
    if target == "dataset":
        stack = await _plan_dataset(stubs, sources, spec)
        size, doubts = voxel_size.decide(given, stack.voxel_size, spec.source_path)
    else:
        stack, size = await _plan_labels(stubs, sources, parent, spec)
        if given is not None:
            size, _ = voxel_size.decide(given, stack.voxel_size, spec.source_path)
        doubts = voxel_size.compare(
            (size.z, size.y, size.x), stack.voxel_size, spec.source_path, owner
        )
    resolved = jobs_pb2.ImportSpec()
    resolved.CopyFrom(spec)
    resolved.voxel_size.CopyFrom(size)
    preview = jobs_pb2.ImportResult(
        volume=spec.volume,
        shape=shape_proto(stack.shape),
        voxel_size=size,
        voxel_bytes=prod(stack.shape) * (stack.dtype.itemsize if target == "dataset" else 1),
    )
    return ImportPlan(resolved, preview, (*stack.warnings, *doubts))


async def _plan_dataset(stubs: AsyncStubs, sources: Sources, spec: jobs_pb2.ImportSpec) -> Stack:
    view = label_view(spec.dataset.name)
    if view == spec.volume:
        raise InvalidArgumentError(
            f"{view} will show the annotations of {spec.dataset.name}; give the raw volume another "
            "name.",
            field="spec.volume",
        )
    await _refuse(
        stubs.registry.GetDataset(registry_pb2.GetDatasetRequest(name=spec.dataset.name)),
        spec.dataset.name,
    )
    for volume in (spec.volume, view):
        await _refuse_volume(stubs, volume)
    return await sources.look(spec)


async def _plan_labels(
    stubs: AsyncStubs, sources: Sources, parent: str, spec: jobs_pb2.ImportSpec
) -> tuple[Stack, types_pb2.VoxelSize]:
    answer = await stubs.registry.GetDataset(
        registry_pb2.GetDatasetRequest(name=spec.labels.dataset)
    )
    dataset = answer.dataset
    classes = await known_classes(stubs, parent)
    stack = await sources.look(spec)
    wanted = shape_of(dataset.shape)
    if stack.shape != wanted:
        got, want = (" × ".join(map(str, shape)) for shape in (stack.shape, wanted))
        raise InvalidArgumentError(
            f"{spec.source_path} has {got} voxels (z, y, x), but {dataset.name} has {want}; labels "
            "must have the extent of their data set.",
            path=spec.source_path,
        )
    await sources.looks.run(
        "check_classes",
        path=spec.source_path,
        stack=stack,
        labels=label_reader(spec, classes),
        voxels=_CHECKED_VOXELS,
    )
    return stack, dataset.voxel_size


def label_reader(spec: jobs_pb2.ImportSpec, classes: Iterable[int]) -> LabelReader:
    """What makes class values of the numbers in label files.

    Raises:
        InvalidArgumentError: A mapping leads to no class.
    """
    rules = [ValueRule.from_proto(mapping) for mapping in spec.labels.mappings]
    return LabelReader(classes, rules, source=spec.source_path)


async def _refuse_volume(stubs: AsyncStubs, name: str) -> None:
    await _refuse(stubs.storage.GetVolume(storage_pb2.GetVolumeRequest(name=name)), name)


async def _refuse(look_up: Awaitable[object], name: str) -> None:
    """Raises AlreadyExistsError if a look-up finds something."""
    try:
        await look_up
    except NotFoundError:
        return
    kind = names.KINDS[names.DATASET if "/datasets/" in name else names.VOLUME].what
    raise AlreadyExistsError(
        f'There is already a {kind} "{names.short(name)}"; take another name.', name=name
    )
