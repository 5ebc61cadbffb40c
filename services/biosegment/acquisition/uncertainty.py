"""The uncertainty volume of a data set: which one there is, and how a fresh one is made."""

import hashlib
from dataclasses import dataclass

from biosegment.acquisition import record
from biosegment.client.errors import NotFoundError
from biosegment.client.geometry import Box
from biosegment.client.names import DATASET, VOLUME, parse, project_of
from biosegment.client.stubs import AsyncStubs
from biosegment.v1 import campaigns_pb2 as pb
from biosegment.v1 import inference_pb2, jobs_pb2, registry_pb2, storage_pb2

_START_SECONDS = 120.0
_LOOK_BACK = 200


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """A finished entropy volume.

    Attributes:
        volume: projects/p/volumes/v
        version: The model version that made it.
    """

    volume: str
    version: str


async def newest(stubs: AsyncStubs, campaign: pb.Campaign, region: Box) -> Uncertainty | None:
    """The newest finished uncertainty volume of a campaign's model over a region.

    Looks at the data set's last 200 segmentations; those of other models, of other boxes, without
    some of their blocks or without their volume are passed over.

    Args:
        stubs: To reach registry and storage.
        campaign: The campaign.
        region: Where candidates may lie, level 0.
    """
    listing = registry_pb2.ListSegmentationsRequest(parent=campaign.dataset, page_size=_LOOK_BACK)
    for found in (await stubs.registry.ListSegmentations(listing)).segmentations:
        if not found.complete or found.version.rpartition("/versions/")[0] != campaign.model:
            continue
        spec = (await record.job_of(stubs, found.job)).segment_spec
        if not spec.entropy_volume or Box.from_proto(spec.box).intersection(region) != region:
            continue
        request = storage_pb2.GetVolumeRequest(name=spec.entropy_volume)
        try:
            volume = (await stubs.storage.GetVolume(request)).volume
        except NotFoundError:
            continue
        if volume.state == storage_pb2.VOLUME_STATE_READY:
            return Uncertainty(volume.name, found.version)
    return None


def is_due(campaign: pb.Campaign, current: pb.Round) -> bool:
    """Whether a round begins with a fresh uncertainty volume.

    The plan alone decides, so that a restart changes nothing.
    """
    every = campaign.refresh_rounds
    if campaign.candidates != pb.CANDIDATE_SOURCE_UNCERTAINTY_VOLUME or not every:
        return False
    first = record.first_ranked(campaign)
    index = record.index_of(current.name)
    return bool(current.base_version) and index >= first and (index - first) % every == 0


async def refresh(stubs: AsyncStubs, campaign: pb.Campaign, current: pb.Round) -> jobs_pb2.Job:
    """The job that segments a campaign's region anew; started by whoever asks for it first."""
    request_id = record.step_id(current.name, "uncertainty")
    project, dataset = parse(DATASET, campaign.dataset)
    suffix = hashlib.sha256(request_id.encode()).hexdigest()[:6]
    answer = await stubs.inference.StartSegmentation(
        inference_pb2.StartSegmentationRequest(
            parent=project_of(campaign.name),
            request_id=request_id,
            spec=jobs_pb2.SegmentSpec(
                dataset=campaign.dataset,
                version=current.base_version,
                box=campaign.region if campaign.HasField("region") else None,
                # Ids have at most 63 characters.
                entropy_volume=VOLUME.format(project, f"{dataset[:49]}-unsure-{suffix}"),
                round=current.name,
            ),
        ),
        timeout=_START_SECONDS,
    )
    # The answer to a repeated start is the first one, as old as the job.
    return await record.job_of(stubs, answer.job.name)
