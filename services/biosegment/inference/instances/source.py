"""The label volume that instances are made of: found, and checked."""

from dataclasses import dataclass

from biosegment.client import names
from biosegment.client.complete import check_complete
from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.client.stubs import AsyncStubs
from biosegment.v1 import jobs_pb2, registry_pb2, storage_pb2, types_pb2

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Source:
    """A label volume.

    Attributes:
        volume: It.
        segmentation: The segmentation that it belongs to, or "".
        dataset: The data set that it belongs to, or "".
    """

    volume: storage_pb2.Volume
    segmentation: str = ""
    dataset: str = ""


async def find(stubs: AsyncStubs, parent: str, asked: jobs_pb2.InstancesSpec) -> Source:
    """Finds the source of a request.

    Raises:
        InvalidArgumentError: Neither or both of segmentation and volume are named, or not of this
            project.
        NotFoundError: There is no such segmentation, volume or data set.
        FailedPreconditionError: It is not complete, changes by itself, or holds no class values.
    """
    if bool(asked.segmentation) == bool(asked.source_volume):
        raise InvalidArgumentError(
            "Name a segmentation or a label volume to find instances in, one of them.",
            field="spec.source_volume",
        )
    if names.project_of(asked.segmentation or asked.source_volume) != parent:
        raise InvalidArgumentError(
            f"{asked.segmentation or asked.source_volume} does not belong to {parent}."
        )
    if asked.segmentation:
        dataset, segmentation = await _segmentation(stubs, asked.segmentation)
        volume, named = segmentation.volume, segmentation.name
    else:
        names.parse(names.VOLUME, asked.source_volume)
        volume = asked.source_volume
        dataset, named = await _owner(stubs, parent, volume)
    if asked.dataset:
        names.parse(names.DATASET, asked.dataset)
        await stubs.registry.GetDataset(registry_pb2.GetDatasetRequest(name=asked.dataset))
    answer = await stubs.storage.GetVolume(storage_pb2.GetVolumeRequest(name=volume))
    _check(answer.volume)
    return Source(answer.volume, named, asked.dataset or dataset)


async def _segmentation(stubs: AsyncStubs, name: str) -> tuple[str, registry_pb2.Segmentation]:
    project, dataset, _ = names.parse(names.SEGMENTATION, name)
    owner = names.DATASET.format(project, dataset)
    known = await _segmentations(stubs, owner)
    for found in known:
        if found.name == name:
            if not found.complete:
                raise FailedPreconditionError(
                    f"{name} lacks blocks that failed; instances would be cut there. Try them "
                    f"again with: biosegment job retry {found.job}",
                    name=name,
                )
            return owner, found
    raise names.not_found(names.SEGMENTATION, name, [found.name for found in known])


async def _segmentations(stubs: AsyncStubs, dataset: str) -> list[registry_pb2.Segmentation]:
    request = registry_pb2.ListSegmentationsRequest(parent=dataset, page_size=_PAGE)
    found: list[registry_pb2.Segmentation] = []
    while True:
        page = await stubs.registry.ListSegmentations(request)
        found += page.segmentations
        request.page_token = page.next_page_token
        if not request.page_token:
            return found


async def _owner(stubs: AsyncStubs, parent: str, volume: str) -> tuple[str, str]:
    """Data set and segmentation of a volume, "" where there is none."""
    request = registry_pb2.ListDatasetsRequest(parent=parent, page_size=_PAGE)
    while True:
        page = await stubs.registry.ListDatasets(request)
        for dataset in page.datasets:
            if volume == dataset.label_volume:
                raise FailedPreconditionError(
                    f"{volume} shows the annotations of {dataset.name} and changes as people "
                    "annotate; take a segmentation, or imported labels.",
                    name=volume,
                )
            if volume in dataset.reference_volumes:
                return dataset.name, ""
            for found in await _segmentations(stubs, dataset.name):
                if found.volume == volume:
                    checked = await _segmentation(stubs, found.name)
                    return dataset.name, checked[1].name
        request.page_token = page.next_page_token
        if not request.page_token:
            return "", ""


def _check(volume: storage_pb2.Volume) -> None:
    check_complete(volume)
    labels = volume.kind == storage_pb2.VOLUME_KIND_LABELS
    if not labels or volume.data_type != types_pb2.DATA_TYPE_UINT8 or volume.channels:
        raise FailedPreconditionError(
            f"{volume.name} holds no class values: instances are made of labels of 8 bit, as a "
            "segmentation or imported labels are.",
            name=volume.name,
        )
