"""A device that cannot hold a batch."""

from dataclasses import replace

import pytest
import torch

from biosegment.client.errors import OutOfMemoryError
from biosegment.training.child import fit as fit_module
from biosegment.training.child.fit import fit
from biosegment.training.child.module import Training
from tests.training.training_kit import SETTINGS, Log, network, sample, sampler, state


class Greedy(Training):
    """Asks the allocator for 16 TiB for each crop beyond two, from the seventh step on."""

    def loss(self, batch):
        if self.global_step >= 6:
            torch.empty(max(0, len(batch[0]) - 2) << 44, dtype=torch.uint8)
        return super().loss(batch)


def test_a_run_that_lacks_memory_cuts_its_batch_and_goes_on_from_its_checkpoint(monkeypatch):
    monkeypatch.setattr(fit_module, "Training", Greedy)
    log = Log()
    outcome = fit(network(), sampler(), SETTINGS, log.hooks())
    # The step after the checkpoint of step 5 is taken a second time, in halves.
    assert log.steps == [1, 2, 3, 4, 5, 6, *range(6, 13)]
    assert (outcome.parts, outcome.steps, outcome.resumed_from_step) == (2, 12, 0)


def test_before_the_first_checkpoint_it_begins_again(monkeypatch):
    class Greediest(Training):
        def loss(self, batch):
            torch.empty(max(0, len(batch[0]) - 1) << 44, dtype=torch.uint8)
            return super().loss(batch)

    expected = fit(network(), sampler(), replace(SETTINGS, parts=4), Log().hooks())
    monkeypatch.setattr(fit_module, "Training", Greediest)
    log = Log()
    outcome = fit(network(), sampler(), SETTINGS, log.hooks())
    assert (outcome.parts, log.steps) == (4, list(range(1, 13)))
    assert outcome.loss == pytest.approx(expected.loss, rel=1e-3)


def test_pieces_take_the_step_of_the_whole(monkeypatch):
    """Without what looks at a batch as a whole (batch norm, Dice) they are equal.

    So are pieces with as many labels each; with more, one would weigh a little more in the whole.
    """
    full = sample()
    full.channels[:] = full.raw > 125
    whole, pieces = network(), network()
    for net in (whole, pieces):
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                monkeypatch.setattr(module, "train", lambda _mode=True: None)
                module.training = False
            elif isinstance(module, torch.nn.Dropout2d):
                module.p = 0.0
    plain = replace(SETTINGS, steps=3, dice_weight=0.0, learning_rate=1e-3)
    first = fit(whole, sampler([full]), plain, Log().hooks())
    second = fit(pieces, sampler([full]), replace(plain, parts=4), Log().hooks())
    assert second.loss == pytest.approx(first.loss, rel=1e-4)
    for name, tensor in state(whole).items():
        torch.testing.assert_close(pieces.state_dict()[name], tensor, rtol=1e-2, atol=1e-4)


def test_it_gives_up_when_there_is_nothing_left_to_cut(monkeypatch):
    class Full(Training):
        def loss(self, batch):
            torch.empty(1 << 60, dtype=torch.uint8)

    monkeypatch.setattr(fit_module, "Training", Full)
    with pytest.raises(OutOfMemoryError, match="Not even 1 crop of 1 × 32 × 32"):
        fit(network(), sampler(), SETTINGS, Log().hooks())
