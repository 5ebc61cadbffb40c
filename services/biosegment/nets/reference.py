"""What raw data look like to a model version, and what puts a volume on the same scale.

A version whose training began with fresh weights knows the data that it was trained on; one that
was fine-tuned knows those of its base, on whose scale its own training data were put. Versions from
before this was recorded saw their data set as it is stored.
"""

from biosegment.client import arrays
from biosegment.client.errors import NotFoundError
from biosegment.client.stubs import AsyncStubs, SyncStubs
from biosegment.nets.intensity import AS_IT_IS, GreyMap, grey_map, on_unit_scale
from biosegment.runtime import log
from biosegment.runtime.arrays import VolumeArray
from biosegment.runtime.grey import statistics_of
from biosegment.v1 import registry_pb2, storage_pb2, types_pb2

_log = log.get(__name__)


def describe(stubs: SyncStubs, dataset: str, raw: VolumeArray) -> types_pb2.InputReference:
    """What a network that is trained on a data set from the start will know of raw data.

    Args:
        stubs: To reach storage.
        dataset: projects/p/datasets/d
        raw: Its raw volume.
    """
    return _described(dataset, raw.volume, statistics_of(stubs, raw))


def reference_of(
    stubs: SyncStubs, version: registry_pb2.ModelVersion
) -> types_pb2.InputReference | None:
    """What raw data look like to a version; None where that cannot be known any more.

    Args:
        stubs: To reach registry and storage.
        version: The version.
    """
    if version.HasField("reference"):
        return version.reference
    try:
        request = registry_pb2.GetDatasetRequest(name=version.dataset)
        volume = stubs.registry.GetDataset(request).dataset.raw_volume
        return describe(stubs, version.dataset, VolumeArray.open(stubs, volume).ready())
    except NotFoundError as error:
        _log.warning("version.without_reference", version=version.name, reason=error.message)
        return None


def map_of(stubs: SyncStubs, version: registry_pb2.ModelVersion, raw: VolumeArray) -> GreyMap:
    """What puts a volume on the scale of the data that a version knows.

    Args:
        stubs: To reach registry and storage.
        version: The version.
        raw: The volume.
    """
    known = reference_of(stubs, version)
    if known is None:
        return AS_IT_IS
    return grey_map(on_unit_scale(statistics_of(stubs, raw), raw.dtype), known.grey)


async def recorded(
    stubs: AsyncStubs, version: registry_pb2.ModelVersion
) -> types_pb2.InputReference | None:
    """``reference_of`` as far as the record has it, without looking at voxels."""
    if version.HasField("reference"):
        return version.reference
    try:
        found = await stubs.registry.GetDataset(
            registry_pb2.GetDatasetRequest(name=version.dataset)
        )
        answer = await stubs.storage.GetVolume(
            storage_pb2.GetVolumeRequest(name=found.dataset.raw_volume)
        )
    except NotFoundError:
        return None
    return _described(version.dataset, answer.volume, answer.volume.grey)


def _described(
    dataset: str, raw: storage_pb2.Volume, grey: types_pb2.GreyStatistics
) -> types_pb2.InputReference:
    return types_pb2.InputReference(
        grey=on_unit_scale(grey, arrays.dtype_of(raw.data_type)),
        voxel_size=raw.voxel_size,
        dataset=dataset,
    )
