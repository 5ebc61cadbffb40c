"""The plan of a whole-volume segmentation: names, blocks, memory."""

import hashlib
import uuid
from dataclasses import dataclass
from math import isqrt, prod

from biosegment.client import arrays, names
from biosegment.client.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from biosegment.client.geometry import ZYX, BlockGrid, Box, shape_of, shape_proto
from biosegment.client.stubs import AsyncStubs
from biosegment.inference import masks, views
from biosegment.inference.child.uniform import KEPT_BYTES
from biosegment.inference.forwards import Forwards
from biosegment.inference.settings import InferenceSettings
from biosegment.inference.subjects import Subject, look_up
from biosegment.inference.whole_units import whole_units
from biosegment.nets.footprint import Footprint
from biosegment.v1 import jobs_pb2, registry_pb2, storage_pb2, types_pb2

# Networks that see sections want thin, wide blocks: a halo in-plane, none along z. Those that see
# volumes want thicker ones.
_CHUNK: ZYX = (16, 256, 256)
# A section this large is shown whole by default, without a halo. Of larger ones a block and the
# halo of the deepest network fit into one forward: a wider block would be cut, at more halo.
_WHOLE, _SHEET = 1024, 768
_THICKER = 4
_MOST_SHEETS = 4
_MAX_BLOCK_VOXELS = 1 << 28
_RUNS, _MOST_IN_RUN = 256, 64
# Interpreter, torch and its libraries, measured on Linux without a GPU.
_PROCESS_BYTES = 600 << 20
# What OpenVINO adds, beside the weights: once as they were and once as it wants them.
_OPENVINO_BYTES = 128 << 20
_PAGE = 1000
# As the child's predict names its outputs; it is not imported here, for it imports torch.
LABELS, ENTROPY = "labels", "entropy"
_KINDS = {
    LABELS: (storage_pb2.VOLUME_KIND_LABELS, types_pb2.DATA_TYPE_UINT8),
    ENTROPY: (storage_pb2.VOLUME_KIND_IMAGE, types_pb2.DATA_TYPE_FLOAT32),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A segmentation that can be started.

    Attributes:
        spec: With every default filled in.
        voxels: Voxels that will be predicted; about, where a mask says which.
        worker_memory_bytes: Estimated peak of one worker.
        warnings: Sentences for whoever uses the output, such as what was not done as asked.
    """

    spec: jobs_pb2.SegmentSpec
    voxels: int
    worker_memory_bytes: int
    warnings: tuple[str, ...] = ()


async def plan(
    stubs: AsyncStubs,
    parent: str,
    request_id: str,
    asked: jobs_pb2.SegmentSpec,
    settings: InferenceSettings,
) -> Plan:
    """Checks a segmentation and fills in what it leaves open.

    Args:
        stubs: To reach registry and storage.
        parent: projects/p
        request_id: Of the request; default names come from it, so that a repeat has the same.
        asked: The spec.
        settings: How much a worker computes at a time.

    Raises:
        InvalidArgumentError: A name, the box or the block is wrong.
        NotFoundError: Version, data set or mask do not exist.
        FailedPreconditionError: They, the mask or the orientations do not fit, or the network has
            to see whole sections and they are too large for it.
        AlreadyExistsError: The name of the output is taken.
    """
    subject = await look_up(stubs, asked.version, asked.dataset)
    subject.check_sections(settings.section_mebibytes << 20)
    project, dataset = names.parse(names.DATASET, asked.dataset)
    if names.PROJECT.format(project) != parent:
        raise InvalidArgumentError(f"{asked.dataset} does not belong to {parent}.")
    spec = jobs_pb2.SegmentSpec()
    spec.CopyFrom(asked)
    spec.version = subject.version
    suffix = hashlib.sha256((request_id or uuid.uuid4().hex).encode()).hexdigest()[:6]
    # Ids have at most 63 characters.
    default = f"{dataset[:52]}-seg-{suffix}"
    spec.volume = spec.volume or names.VOLUME.format(project, default)
    spec.segmentation = spec.segmentation or names.SEGMENTATION.format(project, dataset, default)
    names.parse(names.VOLUME, spec.volume)
    names.parse(names.SEGMENTATION, spec.segmentation)
    if names.project_of(spec.volume) != parent or not spec.segmentation.startswith(
        f"{spec.dataset}/segmentations/"
    ):
        raise InvalidArgumentError(
            f"The output must belong to {parent}, and the segmentation to {spec.dataset}."
        )
    if spec.entropy_volume:
        names.parse(names.VOLUME, spec.entropy_volume)
        if names.project_of(spec.entropy_volume) != parent or spec.entropy_volume == spec.volume:
            raise InvalidArgumentError(
                f"{spec.entropy_volume} cannot be the uncertainty volume: it must belong to "
                f"{parent}, and be another than {spec.volume}.",
                field="spec.entropy_volume",
            )
    views.check(spec, subject)
    box = subject.box(spec.box) if spec.HasField("box") else Box.of_shape(subject.shape)
    spec.box.CopyFrom(box.to_proto())
    block = _block(spec, subject.shape, subject.footprint, settings.forward_pixels)
    warnings = whole_units(asked, block, subject.shape)
    spec.block.CopyFrom(shape_proto(block))
    await _check_free(stubs, spec)
    result_bytes = sum(arrays.dtype_of(_KINDS[output][1]).itemsize for output in volume_names(spec))
    voxels = box.voxels
    if spec.mask_volume:
        # A byte for the mask as it is spread over a block, one for its inverse.
        result_bytes += 2
        mask = await masks.look_up(stubs, parent, spec.mask_volume, subject.raw)
        voxels = round(voxels * await mask.share(box))
    memory = _memory(spec, subject, settings.forwards, result_bytes)
    return Plan(spec, voxels, memory, (*subject.warnings, *warnings))


def chunk_and_unit(shape: ZYX) -> tuple[ZYX, ZYX]:
    """Chunk and write unit of a segmentation: whole chunks, 9 to 16 MiB.

    Args:
        shape: Extent of the volume, (z, y, x).
    """
    z, y, x = (min(c, n) for c, n in zip(_CHUNK, shape, strict=True))
    rows, columns = (
        -(-n // c) if n <= _WHOLE else _SHEET // c for c, n in zip((y, x), shape[1:], strict=True)
    )
    return (z, y, x), (z, y * rows, x * columns)


def _block(
    spec: jobs_pb2.SegmentSpec, shape: ZYX, footprint: Footprint, forward_pixels: int
) -> ZYX:
    unit = chunk_and_unit(shape)[1]
    if footprint.sectionwise and not spec.three_orientations:
        # The more of a section a forward shows, the less of that is halo.
        side = isqrt(forward_pixels)
        rows, columns = (
            min(max(1, (side - 2 * halo) // _SHEET), _MOST_SHEETS) for halo in footprint.halo[1:]
        )
        usual = (unit[0], rows * unit[1], columns * unit[2])
    else:
        usual = (_THICKER * unit[0], *unit[1:])
    asked = shape_of(spec.block) if spec.HasField("block") else usual
    if not footprint.local:
        # Every block runs the sections that it touches whole, so none is cut.
        asked = (asked[0], *shape[1:])
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


def blocks(spec: jobs_pb2.SegmentSpec) -> jobs_pb2.PlanBlocksRequest:
    """The block grid of a planned segmentation.

    It begins at a corner of a block at or before the box, so that no two blocks share a write
    unit whatever the box; what a block holds outside the box is left out when it is predicted.
    """
    box, block = Box.from_proto(spec.box), shape_of(spec.block)
    z, y, x = (a // n * n for a, n in zip(box.start, block, strict=True))
    grid = BlockGrid(Box((z, y, x), box.stop), block)
    return jobs_pb2.PlanBlocksRequest(
        box=grid.box.to_proto(),
        block=spec.block,
        # Short runs share a small volume out; long ones read ahead, and share among their blocks
        # what it costs to take a run.
        run_length=min(max(1, len(grid) // _RUNS), _MOST_IN_RUN),
    )


def volume_names(spec: jobs_pb2.SegmentSpec) -> dict[str, str]:
    """Names of the volumes that a segmentation makes, by what the child is to write to them."""
    made = {LABELS: spec.volume}
    if spec.entropy_volume:
        made[ENTROPY] = spec.entropy_volume
    return made


def output_volumes(
    spec: jobs_pb2.SegmentSpec, dataset: registry_pb2.Dataset
) -> list[storage_pb2.Volume]:
    """What to ask storage for: class values and entropies, 0 where nothing was predicted."""
    chunk, unit = chunk_and_unit(shape_of(dataset.shape))
    level = storage_pb2.VolumeLevel(
        shape=dataset.shape, chunk=shape_proto(chunk), write_unit=shape_proto(unit)
    )
    return [
        storage_pb2.Volume(
            name=name,
            kind=_KINDS[output][0],
            data_type=_KINDS[output][1],
            voxel_size=dataset.voxel_size,
            levels=[level],
        )
        for output, name in volume_names(spec).items()
    ]


def _memory(
    spec: jobs_pb2.SegmentSpec, subject: Subject, forwards: Forwards, result_bytes: int
) -> int:
    footprint, block = subject.footprint, shape_of(spec.block)
    seen = views.views_of(spec.augmentation, spec.three_orientations, footprint)
    margin = views.margin(seen, footprint, subject.shape)
    around = [
        min(size + 2 * reach, extent)
        for size, reach, extent in zip(block, margin, subject.shape, strict=True)
    ]
    voxel_bytes = arrays.dtype_of(subject.raw.data_type).itemsize
    # Two blocks are read, and two results held, at a time.
    held = 2 * prod(around) * voxel_bytes + 2 * prod(block) * result_bytes
    if len(seen) > 1:
        # Class probabilities of a view, and their sum.
        held += 2 * prod(block) * len(subject.model.classes) * 4
    smallest = max(prod(footprint.smallest(view.extent(subject.shape))) for view in seen)
    forward = max(footprint.forward_voxels(forwards.pixels), smallest)
    weights = subject.architecture.weight_bytes(subject.parameters)
    if forwards.by_openvino(footprint):
        held += _OPENVINO_BYTES + 2 * weights
    return (
        _PROCESS_BYTES
        + KEPT_BYTES
        + held
        + forward * subject.architecture.activation_bytes(subject.parameters)
        + weights
    )


async def _check_free(stubs: AsyncStubs, spec: jobs_pb2.SegmentSpec) -> None:
    for name in volume_names(spec).values():
        try:
            await stubs.storage.GetVolume(storage_pb2.GetVolumeRequest(name=name))
        except NotFoundError:
            continue
        raise AlreadyExistsError(
            f'There is already a volume "{names.short(name)}"; take another name.', name=name
        )
    request = registry_pb2.ListSegmentationsRequest(parent=spec.dataset, page_size=_PAGE)
    while True:
        page = await stubs.registry.ListSegmentations(request)
        if any(found.name == spec.segmentation for found in page.segmentations):
            raise AlreadyExistsError(
                f'There is already a segmentation "{names.short(spec.segmentation)}"; take another '
                "name.",
                name=spec.segmentation,
            )
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
