"""What a ranking asks of inference for each strategy, over the real record."""

import pytest
from google.protobuf.struct_pb2 import Struct

from biosegment.acquisition import record
from biosegment.client.errors import FailedPreconditionError
from biosegment.client.geometry import Box
from biosegment.v1 import campaigns_pb2 as pb
from biosegment.v1 import registry_pb2
from tests.acquisition.acquisition_kit import CAMPAIGN, MODEL, PROJECT, Kit


def wanted(name, **parameters):
    struct = Struct()
    struct.update(parameters)
    return pb.Strategy(name=name, parameters=struct)


async def one_round(kit: Kit) -> None:
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    await kit.answer()
    await kit.conductor.advance(CAMPAIGN)
    await kit.train()
    await kit.conductor.advance(CAMPAIGN)
    await kit.conductor.advance(CAMPAIGN)


async def test_bald_asks_for_passes_with_the_same_seed_each_time(kit):
    await kit.start(strategy=wanted("bald", dropout_passes=3), seed=5)
    await one_round(kit)
    assert not kit.inference.asked
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    (request,) = kit.inference.asked
    assert (request.dropout_passes, request.with_embeddings) == (3, False)
    assert request.seed > 0
    assert "bald" in (await kit.proposals(2))[0].statistics


async def test_embeddings_of_what_is_labelled_are_asked_for_too(kit):
    await kit.start(strategy=wanted("core_set"))
    await one_round(kit)
    labelled = [Box.from_proto(proposal.box) for proposal in await kit.proposals()]
    await kit.conductor.advance(CAMPAIGN)
    result = await kit.rank()
    pool, known = kit.inference.asked
    assert pool.with_embeddings
    assert known.with_embeddings
    assert [Box.from_proto(box) for box in known.boxes] == labelled
    # The kit's embedding is the place (x, y): the first choice is the farthest from any label.
    places = [(box.x_start, box.y_start) for box in pool.boxes]
    far = [min((x - b.start[2]) ** 2 + (y - b.start[1]) ** 2 for b in labelled) for x, y in places]
    first = result.patches[0]
    assert first.score == pytest.approx(max(far) ** 0.5)
    assert places[far.index(max(far))] == (first.box.x_start, first.box.y_start)


async def test_an_ensemble_takes_the_newest_versions_besides_the_ranking_one(kit):
    await kit.start(strategy=wanted("ensemble"), budget_patches=9)
    for _ in range(3):
        await one_round(kit)
    await kit.conductor.advance(CAMPAIGN)
    await kit.rank()
    asked = [(r.version, list(r.ensemble_versions)) for r in kit.inference.asked]
    versions = [f"{MODEL}/versions/{number}" for number in (1, 2, 3)]
    assert asked[-1] == (versions[2], [versions[1], versions[0]])


async def test_a_single_version_has_no_ensemble_yet_and_is_ranked_at_random(kit):
    await kit.start(strategy=wanted("ensemble"))
    await one_round(kit)
    await kit.conductor.advance(CAMPAIGN)
    assert len((await kit.rank()).patches) == 2


@pytest.mark.parametrize("name", ["bald", "mutual_information"])
async def test_dropout_strategies_refuse_a_model_without_at_the_start(kit, name):
    plain = registry_pb2.Model(
        name=f"{PROJECT}/models/plain", architecture="unet2d-quarter", classes=[0, 1]
    )
    plain.parameters["dropout"] = 0.0
    await kit.stubs.registry.CreateModel(registry_pb2.CreateModelRequest(model=plain))
    with pytest.raises(FailedPreconditionError, match="dropout=0.1"):  # noqa: RUF043
        await kit.start(strategy=wanted(name), model=plain.name)
    await kit.start(strategy=wanted("entropy"), model=plain.name)


@pytest.mark.parametrize(
    ("base", "index", "expected"),
    [("", 1, 0.0), ("", 2, 0.0), ("", 3, 0.5), ("", 4, 1.0), ("", 9, 1.0), ("v", 1, 0.0)],
)
def test_progress_runs_from_the_first_ranking_to_the_last(base, index, expected):
    # 3 patches, then 2, 2 and 1: rounds 1 to 4.
    campaign = pb.Campaign(initial_patches=3, batch_patches=2, budget_patches=8, base_version=base)
    assert record.progress(campaign, index) == expected


def test_progress_of_a_campaign_of_one_round():
    campaign = pb.Campaign(initial_patches=3, batch_patches=2, budget_patches=3)
    assert record.progress(campaign, 1) == 0.0
