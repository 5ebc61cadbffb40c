"""When a campaign ends by itself: hand-computed cases, and the driver that obeys."""

import pytest

from biosegment.acquisition import stopping
from biosegment.client.errors import InvalidArgumentError
from biosegment.v1 import campaigns_pb2 as pb
from biosegment.v1 import jobs_pb2
from tests.acquisition.acquisition_kit import CAMPAIGN
from tests.acquisition.test_campaign_driver import one_round


def asks(*entropies: float) -> list[pb.Proposal]:
    return [pb.Proposal(statistics={"entropy": value}) for value in entropies]


def curve(*ious: float) -> list[pb.Round]:
    return [pb.Round(metrics={"iou": value}) for value in ious]


def test_a_model_that_is_sure_is_asked_no_more() -> None:
    rule = pb.StoppingRule(uncertainty_fraction=0.5)
    assert (
        stopping.by_uncertainty(rule, asks(0.6, 0.2), asks(0.2, 0.2)) is None
    )  # 0.2 = half of 0.4
    why = stopping.by_uncertainty(rule, asks(0.6, 0.2), asks(0.2, 0.1))
    assert why is not None
    assert "0.15 nats" in why
    assert "38%" in why


def test_a_strategy_without_entropy_is_never_sure() -> None:
    rule = pb.StoppingRule(uncertainty_fraction=0.5)
    assert stopping.by_uncertainty(rule, [pb.Proposal()], [pb.Proposal()]) is None


def test_patience_counts_rounds_without_a_gain() -> None:
    rule = pb.StoppingRule(patience=2, min_gain=0.01)
    assert stopping.by_metric(rule, curve(0.5, 0.5)) is None  # Too early to say.
    assert stopping.by_metric(rule, curve(0.5, 0.505, 0.52)) is None
    why = stopping.by_metric(rule, curve(0.3, 0.5, 0.505, 0.51))
    assert why is not None
    assert "0.510, after 0.500" in why
    assert stopping.by_metric(pb.StoppingRule(), curve(0.5, 0.5, 0.5)) is None


def test_rounds_that_were_not_measured_are_passed_over() -> None:
    rule = pb.StoppingRule(patience=1)
    assert stopping.by_metric(rule, [*curve(0.5), pb.Round(), *curve(0.6)]) is None


@pytest.mark.parametrize(
    "rule",
    [
        pb.StoppingRule(uncertainty_fraction=1.0),
        pb.StoppingRule(uncertainty_fraction=float("nan")),
        pb.StoppingRule(patience=-1),
        pb.StoppingRule(patience=1, min_gain=2),
        pb.StoppingRule(patience=1),  # Without an evaluation.
    ],
)
def test_rules_that_make_no_sense_are_refused(rule: pb.StoppingRule) -> None:
    with pytest.raises(InvalidArgumentError):
        stopping.check(pb.Campaign(stopping=rule))


async def test_a_campaign_ends_when_nothing_is_gained(kit):
    await kit.start(stopping=pb.StoppingRule(patience=1, min_gain=0.05))
    for iou in (0.5, 0.52):
        await one_round(kit)
        # The rule looks at the figures, so that they come before the next round.
        assert (await kit.round()).state == pb.ROUND_STATE_EVALUATING
        await kit.evaluate(iou)
        await kit.conductor.advance(CAMPAIGN)
    campaign = await kit.campaign()
    assert campaign.state == pb.CAMPAIGN_STATE_FINISHED
    assert "no longer gets better" in campaign.state_reason


async def test_a_campaign_ends_before_anybody_labels_what_the_model_knows(kit):
    await kit.start(stopping=pb.StoppingRule(uncertainty_fraction=0.999), budget_patches=9)
    await one_round(kit)
    await one_round(kit)
    await kit.rank()
    # The kit's inference is the less sure the further right a patch lies, and those are taken.
    await kit.conductor.advance(CAMPAIGN)
    campaign = await kit.campaign()
    assert campaign.state == pb.CAMPAIGN_STATE_FINISHED
    assert "The model is sure" in campaign.state_reason
    # The versions are measured all the same.
    assert len(await kit.jobs(jobs_pb2.JOB_KIND_EVALUATE)) == 2
    await kit.evaluate(0.2, 2)
    assert (await kit.rounds())[1].state == pb.ROUND_STATE_DONE
