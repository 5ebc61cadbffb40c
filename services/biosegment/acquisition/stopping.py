"""Whether a campaign should end before its budget is spent, and why, in a sentence."""

from collections.abc import Sequence

from biosegment.client.errors import InvalidArgumentError
from biosegment.v1 import campaigns_pb2 as pb

_ENTROPY = "entropy"
_METRIC = "iou"


def check(campaign: pb.Campaign) -> None:
    """Checks the rule of a campaign.

    Raises:
        InvalidArgumentError: A value makes no sense, or patience is asked for without an
            evaluation.
    """
    rule = campaign.stopping
    # Written so that NaN fails.
    if not 0 <= rule.uncertainty_fraction < 1:
        raise InvalidArgumentError(
            f"uncertainty_fraction is {rule.uncertainty_fraction:g}; it must be at least 0 (never) "
            "and below 1.",
            field="stopping.uncertainty_fraction",
        )
    if rule.patience < 0 or not 0 <= rule.min_gain < 1:
        raise InvalidArgumentError(
            f"A patience of {rule.patience} rounds and a gain of {rule.min_gain:g} make no rule; "
            "patience must not be negative, and min_gain at least 0 and below 1.",
            field="stopping",
        )
    if rule.patience and not campaign.HasField("evaluation"):
        raise InvalidArgumentError(
            "Patience needs an evaluation: say which label volume the rounds are measured against.",
            field="stopping.patience",
        )


def by_uncertainty(
    rule: pb.StoppingRule, first: Sequence[pb.Proposal], current: Sequence[pb.Proposal]
) -> str | None:
    """Why to end, given what the model asks for now.

    Args:
        rule: The rule.
        first: Proposals of the first round that a model ranked.
        current: Those of the present round.

    Returns:
        The reason; None to go on, also where the strategy does not look at entropy.
    """
    before, after = _mean_entropy(first), _mean_entropy(current)
    if not before or after is None or after >= rule.uncertainty_fraction * before:
        return None
    return (
        f"The model is sure: the mean entropy of what it would ask for next is {after:.3g} nats, "
        f"{after / before:.0%} of the {before:.3g} of the first round that it ranked (the rule "
        f"says below {rule.uncertainty_fraction:.0%})."
    )


def by_metric(rule: pb.StoppingRule, rounds: Sequence[pb.Round]) -> str | None:
    """Why to end, given how the model got better; None to go on.

    Args:
        rule: The rule.
        rounds: All rounds, first to last; those without an evaluation are passed over.
    """
    curve = [found.metrics[_METRIC] for found in rounds if _METRIC in found.metrics]
    if not rule.patience or len(curve) <= rule.patience:
        return None
    best, latest = max(curve[: -rule.patience]), max(curve[-rule.patience :])
    if latest > best + rule.min_gain:
        return None
    return (
        f"The model no longer gets better: in the last {rule.patience} rounds the IoU reached "
        f"{latest:.3f}, after {best:.3f} before (the rule asks for more than {rule.min_gain:g} "
        "above it)."
    )


def _mean_entropy(proposals: Sequence[pb.Proposal]) -> float | None:
    values = [found.statistics[_ENTROPY] for found in proposals if _ENTROPY in found.statistics]
    return sum(values) / len(values) if values else None
