"""The plan of an instances job: names, blocks, memory."""

from dataclasses import dataclass
from math import isfinite, prod

from biosegment.client import names
from biosegment.client.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from biosegment.client.geometry import ZYX, shape_of, shape_proto
from biosegment.client.stubs import AsyncStubs
from biosegment.inference.instances import source as sources
from biosegment.inference.instances.recipe import (
    CONNECTIVITY,
    NO_CLASS,
    Places,
    Recipe,
    places_of,
    recipe_of,
)
from biosegment.inference.whole_units import whole_units
from biosegment.v1 import jobs_pb2, storage_pb2, types_pb2

_CUBE: ZYX = (64, 64, 64)
_SHEET: ZYX = (16, 256, 256)
# As storage does: from here on people look at sections.
_SHEET_ANISOTROPY = 4.0
# Small volumes are cut small, so that several workers find work in them, but not so small that
# claims cost more than blocks.
_PIECES = 16
_UNIT_VOXELS = (1 << 18, 1 << 22)
_BLOCK_VOXELS = (1 << 20, 1 << 24)
# The watershed is slow, and holds far more for each voxel.
_SPLIT_BLOCK_VOXELS = (1 << 19, 1 << 22)
_MAX_BLOCK_VOXELS = 1 << 27
_MAX_NECK_VOXELS = 256
# Short runs share a small job out; long ones spread the cost of a claim.
_RUNS = 64
_MAX_RUN_LENGTH = 16
# Measured on Linux: the interpreter with its libraries, and what each voxel of a block costs.
_PROCESS_BYTES = 250 << 20
_VOXEL_BYTES, _FILL_VOXEL_BYTES, _SPLIT_VOXEL_BYTES = 24, 30, 60


@dataclass(frozen=True, slots=True)
class Plan:
    """A job that can be started.

    Attributes:
        spec: With every default filled in.
        blocks: Blocks of each phase.
        worker_memory_bytes: Estimated peak of one worker on a block.
        warnings: What was not done as it was asked for, in sentences.
    """

    spec: jobs_pb2.InstancesSpec
    blocks: int
    worker_memory_bytes: int
    warnings: tuple[str, ...] = ()


async def plan(stubs: AsyncStubs, parent: str, asked: jobs_pb2.InstancesSpec) -> Plan:
    """Checks a job and fills in what it leaves open.

    Args:
        stubs: To reach registry and storage.
        parent: projects/p
        asked: The spec.

    Raises:
        InvalidArgumentError: A name or a number is wrong.
        NotFoundError: The source does not exist.
        FailedPreconditionError: The source is not complete or holds no class values.
        AlreadyExistsError: The name of the output is taken.
    """
    names.parse(names.PROJECT, parent)
    found = await sources.find(stubs, parent, asked)
    spec = jobs_pb2.InstancesSpec()
    spec.CopyFrom(asked)
    spec.source_volume, spec.segmentation = found.volume.name, found.segmentation
    spec.dataset = found.dataset
    spec.connectivity = spec.connectivity or CONNECTIVITY
    if not spec.volume:
        short = found.volume.name.rpartition("/")[2]
        spec.volume = names.VOLUME.format(names.parse(names.PROJECT, parent)[0], f"{short}-inst")
    if names.project_of(spec.volume) != parent:
        raise InvalidArgumentError(f"{spec.volume} does not belong to {parent}.", name=spec.volume)
    _check_numbers(spec, found.volume)
    shape = shape_of(found.volume.levels[0].shape)
    unit = chunk_and_unit(shape, found.volume.voxel_size)[1]
    block = _block(spec, shape, unit)
    warnings = whole_units(spec, block, shape)
    spec.block.CopyFrom(shape_proto(block))
    places = places_of("projects/p/jobs/j", spec)
    for name in (places.volume, places.fragments):
        await _refuse(stubs, name)
    recipe = recipe_of(spec, found.volume)
    return Plan(spec, len(recipe.grid), _memory(recipe), warnings)


def _check_numbers(spec: jobs_pb2.InstancesSpec, volume: storage_pb2.Volume) -> None:
    if spec.connectivity not in (6, 18, 26):
        raise InvalidArgumentError(
            f"The connectivity {spec.connectivity} is none of 6, 18 and 26.",
            field="spec.connectivity",
        )
    strange = [value for value in spec.classes if value in NO_CLASS or value > max(NO_CLASS)]
    if strange:
        raise InvalidArgumentError(
            f"{strange[0]} is no class to look at: 0 is background, 254 and 255 are not labelled, "
            "and there is none above.",
            field="spec.classes",
        )
    for field in ("min_voxels", "min_volume_um3", "split_nm"):
        value = getattr(spec, field)
        if not (isfinite(value) and value >= 0):
            raise InvalidArgumentError(
                f"{field} is {value}; it must be 0 or more.", field=f"spec.{field}"
            )
    size = volume.voxel_size
    if spec.split_nm > _MAX_NECK_VOXELS * min(size.z, size.y, size.x):
        raise InvalidArgumentError(
            f"A neck of {spec.split_nm:g} nm is more than {_MAX_NECK_VOXELS} voxels wide; cut at "
            "narrower ones.",
            field="spec.split_nm",
        )


def chunk_and_unit(shape: ZYX, voxel_size: types_pb2.VoxelSize) -> tuple[ZYX, ZYX]:
    """Chunk and write unit of an instance volume: whole chunks, at most 16 MiB.

    Args:
        shape: Extent of the volume, (z, y, x).
        voxel_size: In nanometres.
    """
    flat = voxel_size.z / min(voxel_size.y, voxel_size.x) >= _SHEET_ANISOTROPY
    wanted = _SHEET if flat or shape[0] < _CUBE[0] // 2 else _CUBE
    z, y, x = (min(c, n) for c, n in zip(wanted, shape, strict=True))
    return (z, y, x), _grown((z, y, x), shape, _piece(shape, _UNIT_VOXELS))


def _piece(shape: ZYX, limits: tuple[int, int]) -> int:
    least, most = limits
    return min(max(prod(shape) // _PIECES, least), most)


def _grown(unit: ZYX, shape: ZYX, limit: int) -> ZYX:
    """Doubles the shortest axis for as long as there are no more voxels than the limit."""
    grown = list(unit)
    while 2 * prod(grown) <= limit:
        growing = [axis for axis in range(3) if grown[axis] < shape[axis]]
        if not growing:
            break
        grown[min(growing, key=lambda axis: grown[axis])] *= 2
    return grown[0], grown[1], grown[2]


def _block(spec: jobs_pb2.InstancesSpec, shape: ZYX, unit: ZYX) -> ZYX:
    if not spec.HasField("block"):
        limits = _SPLIT_BLOCK_VOXELS if spec.split_nm else _BLOCK_VOXELS
        return _grown(unit, shape, _piece(shape, limits))
    asked = shape_of(spec.block)
    if min(asked) < 1:
        raise InvalidArgumentError(
            f"The block {asked} (z, y, x) is empty; each extent must be at least 1.",
            field="spec.block",
        )
    z, y, x = (-(-min(a, n) // u) * u for a, n, u in zip(asked, shape, unit, strict=True))
    if z * y * x > _MAX_BLOCK_VOXELS:
        raise InvalidArgumentError(
            f"A block of {z} × {y} × {x} voxels (z, y, x) is more than the {_MAX_BLOCK_VOXELS} "
            "that a worker takes at a time; ask for a smaller one.",
            field="spec.block",
        )
    return z, y, x


def _memory(recipe: Recipe) -> int:
    voxel_bytes, margin = _VOXEL_BYTES, 1.0
    if recipe.fill_holes:
        voxel_bytes = _FILL_VOXEL_BYTES
    if recipe.split_nm:
        voxel_bytes = max(voxel_bytes, _SPLIT_VOXEL_BYTES)
        # As ``child.split.margins`` has it: two necks of flooding, half a one of distances.
        margin = 2.5 * recipe.split_nm
    around = [
        min(n + 2 * margin / size, whole)
        for n, size, whole in zip(recipe.grid.block, recipe.voxel_size, recipe.shape, strict=True)
    ]
    return _PROCESS_BYTES + int(prod(around) * voxel_bytes)


async def _refuse(stubs: AsyncStubs, name: str) -> None:
    try:
        await stubs.storage.GetVolume(storage_pb2.GetVolumeRequest(name=name))
    except NotFoundError:
        return
    raise AlreadyExistsError(
        f'There is already a volume "{names.short(name)}"; take another name.', name=name
    )


def volumes(
    places: Places, source: storage_pb2.Volume
) -> tuple[storage_pb2.Volume, storage_pb2.Volume]:
    """What to ask storage for: the volume of fragments and the one of instances, uint32."""
    chunk, unit = chunk_and_unit(shape_of(source.levels[0].shape), source.voxel_size)
    level = storage_pb2.VolumeLevel(
        shape=source.levels[0].shape, chunk=shape_proto(chunk), write_unit=shape_proto(unit)
    )
    fragments, instances = (
        storage_pb2.Volume(
            name=name,
            kind=storage_pb2.VOLUME_KIND_LABELS,
            data_type=types_pb2.DATA_TYPE_UINT32,
            voxel_size=source.voxel_size,
            levels=[level],
        )
        for name in (places.fragments, places.volume)
    )
    return fragments, instances


def blocks(recipe: Recipe) -> jobs_pb2.PlanBlocksRequest:
    """The block grid, the same in each phase."""
    return jobs_pb2.PlanBlocksRequest(
        box=recipe.grid.box.to_proto(),
        block=shape_proto(recipe.grid.block),
        run_length=max(1, min(len(recipe.grid) // _RUNS, _MAX_RUN_LENGTH)),
    )
