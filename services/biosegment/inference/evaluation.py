"""The plan of an evaluation."""

from collections.abc import AsyncIterator, Sequence

from biosegment.client import names
from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.client.geometry import shape_of
from biosegment.client.stubs import AsyncStubs
from biosegment.inference.subjects import Subject, look_up, ready_volume
from biosegment.v1 import jobs_pb2, registry_pb2, storage_pb2, types_pb2

_PAGE = 1000
_MOST_BASES = 100


async def plan(
    stubs: AsyncStubs, parent: str, asked: jobs_pb2.EvaluateSpec, section_bytes: int
) -> tuple[jobs_pb2.EvaluateSpec, Sequence[str]]:
    """Checks an evaluation; without a reference volume the data set's newest one is taken.

    Args:
        stubs: To reach registry and storage.
        parent: projects/p
        asked: The spec.
        section_bytes: Most that a section may take in a network that has to see all of it.

    Returns:
        The spec, and sentences for whoever uses the figures.

    Raises:
        InvalidArgumentError: A name or the box is wrong.
        NotFoundError: Version, data set or reference do not exist.
        FailedPreconditionError: They do not fit, or there is no reference.
        OutsideVolumeError: The box leaves the data set.
    """
    subject = await look_up(stubs, asked.version, asked.dataset)
    subject.check_sections(section_bytes)
    if names.project_of(asked.dataset) != parent:
        raise InvalidArgumentError(f"{asked.dataset} does not belong to {parent}.")
    spec = jobs_pb2.EvaluateSpec()
    spec.CopyFrom(asked)
    spec.version = subject.version
    if not spec.reference_volume:
        if not subject.dataset.reference_volumes:
            raise FailedPreconditionError(
                f"{spec.dataset} has no reference labels to measure against. Import some, or name "
                "a label volume.",
                name=spec.dataset,
            )
        spec.reference_volume = subject.dataset.reference_volumes[-1]
    names.parse(names.VOLUME, spec.reference_volume)
    if names.project_of(spec.reference_volume) != parent:
        raise InvalidArgumentError(f"{spec.reference_volume} does not belong to {parent}.")
    reference = await ready_volume(stubs, spec.reference_volume)
    _check(reference, subject)
    if spec.HasField("box"):
        spec.box.CopyFrom(subject.box(spec.box).to_proto())
    return spec, [*subject.warnings, *await _told(stubs, subject, spec)]


def _check(reference: storage_pb2.Volume, subject: Subject) -> None:
    """Accepts labels over the voxels of the data set.

    Raises:
        FailedPreconditionError: It is something else.
    """
    labels = reference.kind == storage_pb2.VOLUME_KIND_LABELS
    if not labels or reference.data_type != types_pb2.DATA_TYPE_UINT8 or reference.channels:
        raise FailedPreconditionError(
            f"{reference.name} holds no class values, so it cannot be taken for the truth: name "
            "imported labels (biosegment import-labels) or a segmentation.",
            name=reference.name,
        )
    extent = shape_of(reference.levels[0].shape)
    if extent != subject.shape:
        has, wanted = (" × ".join(map(str, shape)) for shape in (extent, subject.shape))
        raise FailedPreconditionError(
            f"{reference.name} has {has} voxels (z, y, x) and {subject.dataset.name} has {wanted}; "
            "labels that are taken for the truth must have the extent of their data set.",
            name=reference.name,
        )


async def _told(stubs: AsyncStubs, subject: Subject, spec: jobs_pb2.EvaluateSpec) -> list[str]:
    """What the figures do not say, for the kind of labels that are taken for the truth."""
    truth, dataset = spec.reference_volume, subject.dataset
    if truth in dataset.reference_volumes:
        return []
    if truth == dataset.label_volume:
        told = [
            (
                f"{truth} shows the annotations of {dataset.name}, and changes as people annotate: "
                "what is not labelled was left out, and measuring again may give other figures."
            )
        ]
        if await _learnt_from(stubs, spec.version, dataset.name):
            told.append(
                f"{spec.version} has learnt from annotations of {dataset.name}, so these figures "
                "say how well it remembers them, not how well it does elsewhere."
            )
        return told
    async for found in _segmentations(stubs, dataset.name):
        if found.volume == truth:
            return [
                (
                    f"{truth} is the segmentation that {found.version} made, not labels of people: "
                    f"the figures say how much {spec.version} agrees with it."
                )
            ]
    return [
        (
            f"{truth} does not belong to {dataset.name}; that its voxels are those of "
            f"{dataset.name} was taken for granted."
        )
    ]


async def _learnt_from(stubs: AsyncStubs, version: str, dataset: str) -> bool:
    """Whether a version, or one that it was fine-tuned from, was trained on a data set."""
    for _ in range(_MOST_BASES):
        request = registry_pb2.GetModelVersionRequest(name=version)
        found = (await stubs.registry.GetModelVersion(request)).version
        if found.dataset == dataset:
            return True
        version = found.base_version
        if not version:
            break
    return False


async def _segmentations(
    stubs: AsyncStubs, dataset: str
) -> AsyncIterator[registry_pb2.Segmentation]:
    request = registry_pb2.ListSegmentationsRequest(parent=dataset, page_size=_PAGE)
    while True:
        page = await stubs.registry.ListSegmentations(request)
        for found in page.segmentations:
            yield found
        request.page_token = page.next_page_token
        if not request.page_token:
            return
