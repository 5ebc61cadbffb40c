"""Candidates from the uncertainty volume of a segmentation, over the real record and store."""

import numpy as np
import pytest
from numpy.typing import NDArray

from biosegment.client.geometry import Box, shape_of
from biosegment.v1 import campaigns_pb2 as pb
from biosegment.v1 import jobs_pb2, storage_pb2
from tests.acquisition.acquisition_kit import (
    CAMPAIGN,
    DATASET,
    MODEL,
    PROJECT,
    SHAPE,
    TRAINING_HALF,
    Kit,
)

UNCERTAINTY = pb.CANDIDATE_SOURCE_UNCERTAINTY_VOLUME
SEGMENT, RANK = jobs_pb2.JOB_KIND_SEGMENT, jobs_pb2.JOB_KIND_RANK
PATCH = (1, 16, 16)


def unsure_at(*places: tuple[int, int, int]) -> NDArray[np.float32]:
    """A volume that is unsure in some patches of the grid, the more the earlier they are named."""
    made = np.full(SHAPE, 0.01, np.float32)
    for n, (z, y, x) in enumerate(places):
        made[z, 16 * y : 16 * (y + 1), 16 * x : 16 * (x + 1)] = 0.6 - 0.1 * n
    return made


async def first_round(kit: Kit, **fields: object) -> None:
    """A campaign up to the opening of its second round."""
    await kit.start(**{"candidates": UNCERTAINTY, "evaluation": None, **fields})
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    await kit.train()
    await kit.conductor.advance(CAMPAIGN)


async def rank_result(kit: Kit) -> jobs_pb2.RankResult:
    return (await kit.jobs(RANK))[0].result.rank_result


async def test_a_round_begins_with_a_fresh_volume_and_ranks_what_it_points_at(kit):
    await first_round(kit, refresh_rounds=1, pool_patches=4)
    assert len(await kit.jobs(RANK)) == 1
    (job,) = await kit.jobs(SEGMENT)
    spec = job.segment_spec
    assert spec.version == f"{MODEL}/versions/1"
    assert Box.from_proto(spec.box) == TRAINING_HALF
    said = await kit.conductor.advance(CAMPAIGN)
    assert "segmented for its uncertainty" in said
    assert len(await kit.jobs(SEGMENT)) == 1
    taken = [Box.from_proto(proposal.box) for proposal in await kit.proposals()]
    free = [
        (z, y, x)
        for z in range(4)
        for y in range(4)
        for x in range(8)
        if all(Box.at((z, 16 * y, 16 * x), PATCH).intersection(box) is None for box in taken)
    ]
    places = [free[5], free[40], free[77]]
    # The other half is the least sure of all, and out of bounds.
    volume = unsure_at(*places, free[3])
    volume[:, 64:] = 0.69
    await kit.segment(volume)
    await kit.conductor.advance(CAMPAIGN)
    asked = len(kit.inference.asked)
    chosen = await kit.rank()
    scored = kit.inference.asked[asked].boxes
    expected = [Box.at((z, 16 * y, 16 * x), PATCH) for z, y, x in [*places, free[3]]]
    assert [Box.from_proto(box) for box in scored] == expected
    # The newest model scores them: the further right, the less sure, says the kit's.
    right = max(expected, key=lambda box: box.start[2])
    assert Box.from_proto(chosen.patches[0].box) == right
    found = (await rank_result(kit)).search
    assert (found.volume, found.version) == (spec.entropy_volume, spec.version)
    assert (found.patches, found.exact) == (4, True)
    assert (await rank_result(kit)).candidates == 4
    assert set(chosen.seconds) == {"candidates", "scoring", "selection"}


async def test_an_older_volume_serves_where_none_is_refreshed_and_its_age_is_said(kit):
    await first_round(kit, pool_patches=6)
    assert await kit.jobs(SEGMENT) == []
    await kit.rank()
    result = await rank_result(kit)
    assert "has an uncertainty volume over it yet" in result.source
    assert not result.HasField("search")
    assert result.candidates == 6
    # A person segments with the first version, and then a second one is trained.
    await kit.create_job(
        segment_spec=jobs_pb2.SegmentSpec(
            dataset=DATASET,
            version=f"{MODEL}/versions/1",
            volume=f"{PROJECT}/volumes/seg",
            segmentation=f"{DATASET}/segmentations/s",
            box=Box.of_shape(SHAPE).to_proto(),
            entropy_volume=f"{PROJECT}/volumes/unsure",
        )
    )
    await kit.segment(unsure_at((0, 0, 0), (1, 2, 3), (2, 3, 7), (3, 1, 1)))
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    await kit.train()
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    result = await rank_result(kit)
    assert result.search.volume == f"{PROJECT}/volumes/unsure"
    assert f"and not by {MODEL}/versions/2" in result.source
    # A volume that is gone is none.
    await kit.stubs.storage.DeleteVolume(
        storage_pb2.DeleteVolumeRequest(name=f"{PROJECT}/volumes/unsure")
    )
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    assert (await kit.campaign()).state != pb.CAMPAIGN_STATE_FAILED


async def test_random_patches_fill_up_what_the_grid_lacks(kit):
    # A region with a single patch of the grid in each section.
    region = Box((0, 0, 0), (4, 31, 31))
    await first_round(
        kit, refresh_rounds=1, region=region.to_proto(), initial_patches=1, pool_patches=12
    )
    await kit.segment(unsure_at((2, 0, 0)))
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    result = await rank_result(kit)
    assert 3 <= result.search.patches <= 4
    assert result.search.patches < result.candidates <= 12
    assert "random ones" in result.source
    boxes = [Box.from_proto(box) for box in kit.inference.asked[-1].boxes]
    assert len(set(boxes)) == len(boxes)
    assert all(box.intersection(region) == box and box.shape == PATCH for box in boxes)
    assert shape_of((await kit.campaign()).patch) == PATCH


@pytest.mark.parametrize("every", [1, 2])
async def test_the_plan_says_which_rounds_begin_with_a_fresh_volume(kit, every):
    await first_round(kit, refresh_rounds=every, budget_patches=9)
    for index in (2, 3, 4):
        segmented = len(await kit.jobs(SEGMENT))
        if (index - 2) % every == 0:
            assert not (await kit.round()).rank_job
            await kit.segment(unsure_at((0, 0, 0)))
            await kit.conductor.advance(CAMPAIGN)
        assert (await kit.round()).name.endswith(f"/{index}")
        assert segmented == (index - 2) // every + 1
        await kit.rank()
        await kit.answer()
        await kit.conductor.advance(CAMPAIGN)
        await kit.train()
        await kit.conductor.advance(CAMPAIGN)


async def test_a_failed_segmentation_holds_the_campaign(kit):
    await first_round(kit, refresh_rounds=1)
    (job,) = await kit.jobs(SEGMENT)
    await kit.fail(job.name, "The disk is full.")
    await kit.conductor.advance(CAMPAIGN)
    campaign = await kit.campaign()
    assert campaign.state == pb.CAMPAIGN_STATE_FAILED
    assert "The disk is full." in campaign.state_reason
