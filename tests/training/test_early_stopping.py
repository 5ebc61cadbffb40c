from dataclasses import replace

import numpy as np
import pytest
import torch

from biosegment.client.errors import JobCancelledError
from biosegment.nets.architectures import build
from biosegment.training.child.early_stopping import EarlyStopping
from biosegment.training.child.fit import fit
from biosegment.training.child.held_out import split
from biosegment.training.child.samples import CropSampler, Sample, input_statistics
from biosegment.training.child.settings import HoldOut
from tests.training.training_kit import SETTINGS, Log, network, sample, sampler, samples, state

HOW = HoldOut(fraction=0.3, every_steps=4, patience=3)
STEPS = replace(SETTINGS, steps=40, hold_out=HOW, checkpoint_steps=6)


def run(settings, log, *, checkpoint=None, net=None, trained=False):
    net = net or network()
    kept, held = split(samples(8), settings.hold_out.fraction, settings.seed)
    hooks = log.hooks()
    stopping = EarlyStopping(held, (0, 1), settings, hooks, trained=trained)
    return net, fit(net, sampler(kept), settings, hooks, checkpoint=checkpoint, stopping=stopping)


def test_the_best_weights_are_kept():
    log = Log()
    _net, outcome = run(replace(STEPS, hold_out=replace(HOW, patience=1000)), log)
    assert list(log.ious) == list(range(4, 41, 4))
    best = max(log.ious.values())
    first = next(step for step, iou in log.ious.items() if iou == best)
    assert outcome.held_out["held_out_iou"] == pytest.approx(best)
    assert outcome.held_out["best_step"] == first
    assert outcome.held_out["held_out_patches"] == 2
    assert (outcome.steps, outcome.held_out["stopped_early"]) == (40, 0)


def test_it_stops_when_nothing_gets_better():
    log = Log()
    # Without a learning rate only the batch statistics move.
    _, outcome = run(replace(STEPS, steps=100, learning_rate=1e-12), log)
    # Patience begins after a quarter of the steps.
    assert outcome.steps == max(outcome.held_out["best_step"], 24) + 3 * 4 < 100
    assert outcome.held_out["stopped_early"] == 1
    assert log.steps[-1] == outcome.steps


@pytest.mark.parametrize("cut_at", [4, 7, 12])
def test_a_resumed_run_stops_where_an_uninterrupted_one_does(cut_at):
    settings = replace(STEPS, steps=32, learning_rate=1e-12)
    whole = Log()
    through, expected = run(settings, whole)
    assert 12 < expected.steps < 32
    cut, again = Log(cancel_at=cut_at), Log()
    with pytest.raises(JobCancelledError):
        run(settings, cut)
    resumed, outcome = run(settings, again, checkpoint=cut.checkpoints[-1])
    assert outcome.resumed_from_step == cut_at
    assert outcome.held_out == pytest.approx(expected.held_out)
    assert outcome.steps == expected.steps
    assert cut.ious | again.ious == pytest.approx(whole.ious)
    for name, tensor in state(through).items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)


def test_training_that_only_harms_is_undone():
    settings = replace(STEPS, steps=24, hold_out=replace(HOW, patience=1000))
    net, before = run(settings, Log())
    assert before.held_out["held_out_iou"] > 0.5
    known = state(net)
    net.train()
    wild = replace(settings, learning_rate=1.0)
    _, harmed = run(wild, Log(), net=net, trained=True)
    assert harmed.held_out["best_step"] == 0
    assert harmed.held_out["held_out_iou"] == pytest.approx(before.held_out["held_out_iou"])
    for name, tensor in state(net).items():
        assert torch.equal(tensor, known[name]), name


def test_whoever_started_it_may_end_it():
    log = Log()
    hooks = replace(log.hooks(), measured=lambda step, _iou: step >= 8)
    kept, held = split(samples(8), 0.3, 7)
    stopping = EarlyStopping(held, (0, 1), STEPS, hooks)
    assert fit(network(), sampler(kept), STEPS, hooks, stopping=stopping).steps == 8


@pytest.mark.parametrize(
    ("architecture", "parameters", "patch", "neighbours"),
    [("unet2d", {"in_channels": 3}, (1, 32, 32), 1), ("unet3d", {}, (4, 32, 32), 0)],
)
def test_networks_of_volumes_are_measured_too(architecture, parameters, patch, neighbours):
    torch.manual_seed(11)
    net = build(architecture, {"feature_maps": 4, "levels": 2, **parameters}, 2)
    labels = np.repeat(sample().channels, 4, axis=0)
    raw = np.repeat(sample().raw, 4 + 2 * neighbours, axis=0)
    taken = [Sample(raw, labels) for _ in range(6)]
    net.set_input_statistics(*input_statistics(taken))
    settings = replace(STEPS, steps=8, patch=patch)
    kept, held = split(taken, 0.3, 7)
    log = Log()
    stopping = EarlyStopping(held, (0, 1), settings, log.hooks())
    sampler = CropSampler(kept, patch=patch, batch_size=4, seed=7)
    outcome = fit(net, sampler, settings, log.hooks(), stopping=stopping)
    assert list(log.ious) == [4, 8]
    assert 0 <= outcome.held_out["held_out_iou"] <= 1
