"""What StartCampaign fills in and what it refuses."""

import pytest

from biosegment.acquisition.events import Listener
from biosegment.client.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    OutsideVolumeError,
)
from biosegment.client.geometry import Box, shape_of, shape_proto
from biosegment.v1 import acquisition_pb2, events_pb2, jobs_pb2, registry_pb2
from biosegment.v1 import campaigns_pb2 as pb
from tests.acquisition.acquisition_kit import (
    CAMPAIGN,
    DATASET,
    MODEL,
    OTHER_HALF,
    PROJECT,
    SHAPE,
    TRUTH,
    open_kit,
)


async def test_zero_values_take_the_defaults_of_the_paper(kit):
    request = acquisition_pb2.StartCampaignRequest(
        campaign=pb.Campaign(name=CAMPAIGN, dataset=DATASET, model=MODEL), validate_only=True
    )
    made = (await kit.stubs.acquisition.StartCampaign(request)).campaign
    assert (made.initial_patches, made.batch_patches) == (20, 20)
    assert (made.pool_patches, made.budget_patches) == (2000, 500)
    assert made.patch == shape_proto((1, 128, 128))
    assert made.strategy.name == "entropy"
    assert dict(made.strategy.parameters) == {"max_overlap": 0.0}
    assert Box.from_proto(made.region) == Box.of_shape(SHAPE)
    assert made.initial_training.learning_rate == pytest.approx(1e-3)
    assert made.round_training.learning_rate == pytest.approx(5e-4)
    assert made.initial_training.patch == made.patch
    assert (made.pretraining.steps, made.pretraining.patch) == (6000, made.patch)
    assert made.first_strategy.name == "random"
    campaigns = await kit.stubs.campaigns.ListCampaigns(pb.ListCampaignsRequest(parent=PROJECT))
    assert not campaigns.campaigns


async def test_what_is_given_is_kept(kit):
    given = jobs_pb2.TrainingSettings(steps=7, dice_weight=0.0, patch=shape_proto((1, 32, 32)))
    made = await kit.start(initial_training=given)
    assert made.initial_training.steps == 7
    assert made.initial_training.HasField("dice_weight")
    assert made.initial_training.patch == shape_proto((1, 32, 32))
    assert made.initial_training.batch_size == 8


async def made_on(device, folder, **fields):
    """The plan of a campaign where training has a device."""
    async with open_kit(folder, device=device) as kit:
        request = acquisition_pb2.StartCampaignRequest(
            campaign=pb.Campaign(name=CAMPAIGN, dataset=DATASET, model=MODEL, **fields),
            validate_only=True,
        )
        return (await kit.stubs.acquisition.StartCampaign(request)).campaign


async def test_without_a_gpu_what_people_wait_for_is_bounded_in_time(tmp_path):
    made = await made_on("cpu", tmp_path)
    assert made.pretraining.max_seconds == 600
    # With the start's last seconds, ten minutes from the tenth answer to the first model.
    assert made.initial_training.max_seconds == made.round_training.max_seconds == 480
    assert (made.pretraining.steps, made.initial_training.steps) == (6000, 1000)


@pytest.mark.parametrize("device", ["cuda", "mps"])
async def test_with_a_gpu_trainings_take_their_steps(tmp_path, device):
    made = await made_on(device, tmp_path)
    trainings = (made.pretraining, made.initial_training, made.round_training)
    assert [found.max_seconds for found in trainings] == [0, 0, 0]
    assert [found.steps for found in trainings] == [6000, 1000, 400]


async def test_who_names_steps_or_a_time_gets_them(tmp_path):
    made = await made_on(
        "cpu",
        tmp_path,
        pretraining=jobs_pb2.TrainingSettings(steps=50),
        initial_training=jobs_pb2.TrainingSettings(max_seconds=60),
        round_training=jobs_pb2.TrainingSettings(steps=30, max_seconds=90),
    )
    assert (made.pretraining.steps, made.pretraining.max_seconds) == (50, 0)
    assert (made.initial_training.steps, made.initial_training.max_seconds) == (1000, 60)
    assert (made.round_training.steps, made.round_training.max_seconds) == (30, 90)


async def test_the_cold_start_can_be_left_out(kit):
    made = await kit.start(skip_pretraining=True)
    assert not made.HasField("pretraining")
    assert made.first_strategy.name == "random"


async def test_a_cold_start_is_left_out_or_described(kit):
    with pytest.raises(InvalidArgumentError, match="leave one of the two out"):
        await kit.start(skip_pretraining=True, pretraining=jobs_pb2.TrainingSettings(steps=5))


async def test_a_repeat_gives_the_first_answer_and_another_is_refused(kit):
    assert await kit.start() == await kit.start()
    request = acquisition_pb2.StartCampaignRequest(
        campaign=await kit.campaign(), request_id="start-2"
    )
    with pytest.raises(AlreadyExistsError):
        await kit.stubs.acquisition.StartCampaign(request)


@pytest.mark.parametrize(
    ("fields", "error", "word"),
    [
        ({"name": "c"}, InvalidArgumentError, "not the full name"),
        ({"candidates": 9}, InvalidArgumentError, "no source of candidates"),
        ({"refresh_rounds": 2}, InvalidArgumentError, "UNCERTAINTY_VOLUME"),
        ({"candidates": 2, "refresh_rounds": -1}, InvalidArgumentError, "refresh_rounds is -1"),
        ({"dataset": "projects/q/datasets/d"}, InvalidArgumentError, "another project"),
        ({"dataset": f"{PROJECT}/datasets/gone"}, NotFoundError, "gone"),
        ({"model": f"{PROJECT}/models/gone"}, NotFoundError, "gone"),
        ({"base_version": f"{MODEL}/versions/9"}, NotFoundError, "m/9"),
        ({"base_version": f"{PROJECT}/models/n/versions/1"}, InvalidArgumentError, "not a version"),
        ({"strategy": pb.Strategy(name="best")}, InvalidArgumentError, "there are bald"),
        ({"batch_patches": -1}, InvalidArgumentError, "must not be negative"),
        ({"pool_patches": 2}, InvalidArgumentError, "take 3 to 100000"),
        ({"pool_patches": 200_000}, InvalidArgumentError, "take 3 to 100000"),
        ({"patch": shape_proto((1, 16, 20))}, InvalidArgumentError, "multiples of 1 × 16 × 16"),
        ({"patch": shape_proto((1, -16, 16))}, InvalidArgumentError, "holds none"),
        ({"patch": shape_proto((1, 128, 128))}, InvalidArgumentError, "does not fit into"),
        ({"region": Box((0, 0, 0), (5, 64, 128)).to_proto()}, OutsideVolumeError, "leaves"),
        ({"region": Box((0, 0, 0), (4, 64, 128), 1).to_proto()}, InvalidArgumentError, "level 1"),
        ({"region": Box((0, 0, 0), (4, 65, 128)).to_proto()}, InvalidArgumentError, "apart from"),
        (
            {"evaluation": pb.EvaluationPlan(reference_volume=TRUTH)},
            InvalidArgumentError,
            "apart from",
        ),
        (
            {
                "evaluation": pb.EvaluationPlan(
                    reference_volume=f"{PROJECT}/volumes/raw", box=OTHER_HALF.to_proto()
                )
            },
            InvalidArgumentError,
            "must be a label volume",
        ),
    ],
)
async def test_what_does_not_fit_is_refused_before_anything_is_recorded(kit, fields, error, word):
    with pytest.raises(error, match=word):
        await kit.start(**fields)
    campaigns = await kit.stubs.campaigns.ListCampaigns(pb.ListCampaignsRequest(parent=PROJECT))
    assert not campaigns.campaigns


async def test_strategies_are_listed_with_their_defaults(kit):
    answer = await kit.stubs.acquisition.ListStrategies(acquisition_pb2.ListStrategiesRequest())
    listed = {strategy.name: strategy for strategy in answer.strategies}
    assert {"random", "entropy", "least_confidence"} <= set(listed)
    assert "eq. 1" in listed["entropy"].description
    assert dict(listed["random"].parameters) == {"max_overlap": 0.0}


class _Message:
    def __init__(self, subject, event):
        self.subject, self.data = f"biosegment.events.{subject}", event.SerializeToString()


@pytest.mark.parametrize(
    ("subject", "event", "due"),
    [
        ("annotation.committed", events_pb2.AnnotationCommitted(campaign=CAMPAIGN), {CAMPAIGN}),
        ("annotation.committed", events_pb2.AnnotationCommitted(dataset=DATASET), set()),
        ("job.ended", events_pb2.JobEnded(campaign=CAMPAIGN), {CAMPAIGN}),
        ("campaign.changed", events_pb2.CampaignChanged(campaign=CAMPAIGN), {CAMPAIGN}),
        ("round.proposed", events_pb2.RoundProposed(round=f"{CAMPAIGN}/rounds/2"), {CAMPAIGN}),
        ("dataset.created", events_pb2.DatasetCreated(dataset=DATASET), set()),
    ],
)
async def test_events_make_their_campaign_due(kit, subject, event, due):
    await Listener(kit.conductor).handle(_Message(subject, event))
    assert kit.conductor._due == due


async def test_a_network_of_volumes_is_proposed_volumes(kit):
    name = f"{PROJECT}/models/deep"
    model = registry_pb2.Model(name=name, architecture="unet3d-quarter", classes=[0, 1])
    await kit.stubs.registry.CreateModel(registry_pb2.CreateModelRequest(model=model))
    made = await kit.start(model=name, patch=None, validate_only=True)
    z, y, x = shape_of(made.patch)
    # The architecture's own is 16 x 64 x 64; the data set has fewer sections.
    assert (z, y, x) == (SHAPE[0] // 4 * 4, 64, 64)
    assert made.initial_training.patch == made.patch
    with pytest.raises(InvalidArgumentError, match="multiples of 4 × 8 × 8"):
        await kit.start(model=name, patch=shape_proto((2, 16, 16)), validate_only=True)
