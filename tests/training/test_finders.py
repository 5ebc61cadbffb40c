from dataclasses import replace

import pytest
import torch

from biosegment.client.errors import JobCancelledError, OutOfMemoryError
from biosegment.training.child.finders import find, largest_worthwhile, steepest
from biosegment.training.child.fit import fit
from tests.training.training_kit import SETTINGS, Log, network, sample, sampler, state

RATES = [10.0 ** (n / 10 - 6) for n in range(50)]


def test_the_rate_is_where_the_loss_falls_fastest():
    # A step down around the 25th rate, a rise from the 40th on.
    losses = [1.0 / (1.0 + 2.718 ** ((n - 25) / 2)) + 0.2 for n in range(40)]
    losses += [0.2 + 0.5 * n for n in range(10)]
    # The smoothing looks back over about ten losses.
    assert RATES[22] <= steepest(RATES, losses) <= RATES[36]


@pytest.mark.parametrize("losses", [[], [1.0], [0.5] * 50, [0.1 * n for n in range(50)]])
def test_where_nothing_falls_there_is_no_rate(losses):
    assert steepest(RATES, losses) is None


def test_a_rate_is_found_and_serves():
    net = network()
    before = state(net)
    found = find(net, [sample()], SETTINGS, learning_rate=True, batch_size=False)
    assert 1e-5 < found.learning_rate < 1e-1
    assert found.batch_size == SETTINGS.batch_size
    for name, tensor in state(net).items():
        assert torch.equal(tensor, before[name]), name
    again = find(net, [sample()], SETTINGS, learning_rate=True, batch_size=False)
    assert again.learning_rate == pytest.approx(found.learning_rate, rel=0.2)
    outcome = fit(net, sampler(), replace(found, steps=60), Log().hooks())
    assert outcome.loss < 0.5 * outcome.first_loss


def test_finding_can_be_cancelled():
    def cancelled():
        raise JobCancelledError("The work was cancelled.")

    for how in (
        {"learning_rate": True, "batch_size": False},
        {"learning_rate": False, "batch_size": True},
    ):
        with pytest.raises(JobCancelledError):
            find(network(), [sample()], SETTINGS, check=cancelled, **how)


def test_a_batch_size_is_found():
    found = find(network(), [sample()], SETTINGS, learning_rate=False, batch_size=True)
    assert found.batch_size >= SETTINGS.batch_size
    assert found.batch_size % SETTINGS.batch_size == 0


def device(fits, busy):
    """Seconds per crop of a device that holds so many crops, and is busy with so many."""
    tried = []

    def seconds(size):
        tried.append(size)
        if size > fits:
            raise OutOfMemoryError("too many")
        return 1.0 / min(size, busy)

    return seconds, tried


@pytest.mark.parametrize(
    ("fits", "busy", "first", "expected"),
    [
        (1000, 16, 4, 16),
        (1000, 1, 4, 4),
        (12, 1000, 4, 8),
        (3, 1000, 16, 2),
        (1000, 1000, 8, 64),
    ],
    ids=["until busy", "busy already", "until full", "halved", "bounded"],
)
def test_doubled_while_it_fits_and_pays(fits, busy, first, expected):
    seconds, tried = device(fits, busy)
    assert largest_worthwhile(seconds, first, most=64) == expected
    assert len(tried) <= 6


def test_where_not_one_crop_fits():
    with pytest.raises(OutOfMemoryError):
        largest_worthwhile(device(0, 1)[0], 8)
