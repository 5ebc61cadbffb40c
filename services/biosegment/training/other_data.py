"""What to say to whoever goes on with a version that learnt from other data."""

from biosegment.client.stubs import AsyncStubs
from biosegment.nets import likeness, reference
from biosegment.v1 import jobs_pb2, registry_pb2, storage_pb2


async def warnings(stubs: AsyncStubs, spec: jobs_pb2.TrainSpec) -> list[str]:
    """Sentences for whoever uses the version that a training makes.

    Args:
        stubs: To reach registry and storage.
        spec: As planned.
    """
    if not spec.base_version:
        return []
    request = registry_pb2.GetModelVersionRequest(name=spec.base_version)
    base = (await stubs.registry.GetModelVersion(request)).version
    dataset = registry_pb2.GetDatasetRequest(name=spec.dataset)
    volume = (await stubs.registry.GetDataset(dataset)).dataset.raw_volume
    raw = (await stubs.storage.GetVolume(storage_pb2.GetVolumeRequest(name=volume))).volume
    told = []
    if base.dataset != spec.dataset:
        told.append(
            f"{spec.base_version} was trained on {base.dataset}, and this training goes on with "
            f"{spec.dataset} alone: what it makes may do worse on {base.dataset} than its base. "
            "Evaluate it on both."
        )
    known = await reference.recorded(stubs, base)
    if known is not None:
        told += likeness.remarks(spec.base_version, known, spec.dataset, raw)
    return told
