"""The candidates of a round: random patches, or those that an uncertainty volume points at."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from biosegment.acquisition import contrast, record, uncertainty
from biosegment.acquisition.candidates import check_fits, draw_pool, generator
from biosegment.acquisition.coarse_to_fine import Found, Level, Search
from biosegment.client.connection import Connection
from biosegment.client.errors import JobCancelledError
from biosegment.client.geometry import ZYX, Box, shape_of
from biosegment.client.stubs import SyncStubs
from biosegment.runtime.arrays import VolumeArray
from biosegment.runtime.worker import JobContext
from biosegment.v1 import campaigns_pb2 as pb
from biosegment.v1 import jobs_pb2, registry_pb2

POOL_USE = 1
"""Tells the random numbers of the pool from a round's others."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Candidates, and where they came from.

    Attributes:
        boxes: The patches.
        source: In a sentence.
        search: How an uncertainty volume was searched, if one was.
    """

    boxes: list[Box]
    source: str
    search: jobs_pb2.UncertaintySearch | None = None


async def gather(
    context: JobContext,
    connection: Connection,
    campaign: pb.Campaign,
    current: pb.Round,
    region: Box,
    *,
    taken: Sequence[Box],
    max_overlap: float,
) -> Pool:
    """Finds the candidates of a round.

    Args:
        context: Of the rank job.
        connection: To reach the store.
        campaign: The campaign.
        current: The round.
        region: Where they may lie, level 0.
        taken: Boxes proposed before.
        max_overlap: Fraction of a patch that may lie in any one of them.

    Raises:
        InvalidArgumentError: The region is smaller than a patch.
        JobCancelledError: The job was cancelled.
    """
    patch = shape_of(campaign.patch)
    check_fits(region, patch)
    index = record.index_of(current.name)
    dataset = await context.stubs.registry.GetDataset(
        registry_pb2.GetDatasetRequest(name=campaign.dataset)
    )
    raw = dataset.dataset.raw_volume
    boxes: list[Box] = []
    source, searched = "random patches of the region", None
    wanted = campaign.candidates == pb.CANDIDATE_SOURCE_UNCERTAINTY_VOLUME
    if wanted and index >= record.first_ranked(campaign):
        there = await uncertainty.newest(context.stubs, campaign, region)
        if there is None:
            source += f": no segmentation by {campaign.model} has an uncertainty volume over it yet"
        else:
            found = await asyncio.to_thread(
                _search,
                context,
                connection,
                raw,
                there.volume,
                region,
                patch,
                campaign.pool_patches,
                taken=taken,
                max_overlap=max_overlap,
            )
            boxes = found.boxes
            source = _sentence(there, current.base_version, found, campaign.pool_patches)
            searched = jobs_pb2.UncertaintySearch(
                volume=there.volume,
                version=there.version,
                patches=len(boxes),
                exact=found.exact,
                voxels_read=found.voxels_read,
            )
    if len(boxes) < campaign.pool_patches:
        drawn = await asyncio.to_thread(
            _draw,
            context,
            connection,
            raw,
            region,
            patch,
            campaign.pool_patches - len(boxes),
            generator(campaign.seed, index, POOL_USE),
            taken=taken,
            max_overlap=max_overlap,
        )
        # A patch of the grid may be drawn as well; it would be scored twice.
        known = set(boxes)
        boxes = boxes + [box for box in drawn if box not in known]
    return Pool(boxes, source, searched)


def _draw(
    context: JobContext,
    connection: Connection,
    raw: str,
    region: Box,
    patch: ZYX,
    count: int,
    rng: np.random.Generator,
    *,
    taken: Sequence[Box],
    max_overlap: float,
) -> list[Box]:
    with SyncStubs(connection) as stubs:
        return draw_pool(
            region,
            patch,
            count,
            rng,
            taken=taken,
            max_overlap=max_overlap,
            padding=contrast.padding(stubs, raw, _checking(context)),
        )


def _checking(context: JobContext) -> Callable[[], None]:
    def check() -> None:
        if context.cancelled.is_set():
            raise JobCancelledError("The ranking was cancelled.")

    return check


def _search(
    context: JobContext,
    connection: Connection,
    raw: str,
    volume: str,
    region: Box,
    patch: ZYX,
    count: int,
    *,
    taken: Sequence[Box],
    max_overlap: float,
) -> Found:
    check = _checking(context)
    with SyncStubs(connection) as stubs:
        array = VolumeArray.open(stubs, volume).ready()
        levels = [
            Level(shape_of(level.downsampling), shape_of(level.shape), shape_of(level.chunk))
            for level in array.volume.levels
        ]
        search = Search(
            levels,
            array.read,
            region,
            patch,
            taken=taken,
            max_overlap=max_overlap,
            padding=contrast.padding(stubs, raw, check),
            check=check,
        )
        return search.best(count)


def _sentence(there: uncertainty.Uncertainty, version: str, found: Found, wanted: int) -> str:
    made = f"made by {there.version}"
    if there.version != version:
        made += f" (and not by {version}, which ranks)"
    proof = "none is higher" if found.exact else "others may be higher: not all was looked at"
    rest = ", and random ones" if len(found.boxes) < wanted else ""
    return (
        f"{len(found.boxes)} patches of the highest mean in {there.volume}, {made}; {proof}{rest}"
    )
