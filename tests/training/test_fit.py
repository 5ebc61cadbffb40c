from dataclasses import replace

import numpy as np
import pytest
import torch

from biosegment.client.errors import FailedPreconditionError, JobCancelledError
from biosegment.nets.architectures import build
from biosegment.training.child.fit import fit
from biosegment.training.child.module import schedule
from biosegment.training.child.samples import CropSampler, Sample, input_statistics
from biosegment.training.child.watch import checkpoint_step
from tests.training.training_kit import SETTINGS, Log, network, sample, sampler, state


def test_it_learns_a_small_task():
    log, net = Log(), network()
    outcome = fit(net, sampler(), replace(SETTINGS, steps=80), log.hooks())
    assert outcome.loss < 0.4 * outcome.first_loss
    assert log.steps == list(range(1, 81))
    with torch.inference_mode():
        x = torch.from_numpy(sample().raw.astype(np.float32)[None] / 255)
        guess = net(x).argmax(1)[0].numpy().astype(bool)
    truth = ((np.mgrid[:64, :64] % 32 - 16) ** 2).sum(0)[None] < 60
    iou = (guess & truth).sum() / (guess | truth).sum()
    assert iou > 0.7  # the part that was never labelled included


def test_a_resumed_run_ends_where_an_uninterrupted_one_does():
    through, log = network(), Log()
    expected = fit(through, sampler(), SETTINGS, log.hooks())
    assert [checkpoint_step(c) for c in log.checkpoints] == [5, 10]

    cut = Log(cancel_at=7)
    with pytest.raises(JobCancelledError, match="step 7"):
        fit(network(), sampler(), SETTINGS, cut.hooks())
    assert [checkpoint_step(c) for c in cut.checkpoints] == [5, 7]

    again, resumed = Log(), network()
    outcome = fit(resumed, sampler(), SETTINGS, again.hooks(), checkpoint=cut.checkpoints[-1])
    assert outcome.resumed_from_step == 7
    assert again.steps == [8, 9, 10, 11, 12]
    assert outcome.first_loss == expected.first_loss
    assert again.losses == pytest.approx(log.losses[7:], rel=1e-3)
    for name, tensor in state(through).items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)


def test_a_damaged_checkpoint_is_passed_over():
    log = Log()
    for bad in (b"garbage", b""):
        assert checkpoint_step(bad) is None
    outcome = fit(network(), sampler(), SETTINGS, log.hooks(), checkpoint=b"garbage")
    assert outcome.resumed_from_step == 0
    assert log.steps[0] == 1


def test_a_checkpoint_with_code_in_it_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "opened"), "w"))

    path = tmp_path / "checkpoint"
    torch.save({"global_step": 3, "x": Bomb()}, path)
    assert checkpoint_step(path.read_bytes()) is None
    assert not (tmp_path / "opened").exists()


def test_fine_tuning_starts_from_the_given_weights():
    net = network()
    before = state(net)
    gentle = replace(SETTINGS, steps=1, learning_rate=1e-9)
    outcome = fit(net, sampler(), gentle, Log().hooks())
    for name, tensor in net.named_parameters():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=1e-6)
    trained = network()
    fit(trained, sampler(), replace(SETTINGS, steps=60), Log().hooks())
    tuned = fit(trained, sampler(), gentle, Log().hooks())
    assert tuned.first_loss < 0.6 * outcome.first_loss


def test_divergence_is_said():
    net = network()
    with torch.no_grad():
        net.head.bias[0] = float("inf")
    with pytest.raises(FailedPreconditionError, match="diverged at step 0"):
        fit(net, sampler(), SETTINGS, Log().hooks())


def test_the_schedule_warms_up_and_falls():
    factors = [schedule(step, steps=100) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == pytest.approx(1.0)
    assert factors[-1] < 0.02
    assert schedule(0, steps=1) == 1.0


def balls():
    """Bright balls on dark ground, labelled on two sections only."""
    rng = np.random.default_rng(0)
    z, y, x = np.mgrid[:8, :48, :48]
    ball = (z - 4) ** 2 * 4 + (y % 24 - 12) ** 2 + (x % 24 - 12) ** 2 < 50
    raw = np.where(ball, 170, 80) + rng.normal(0, 12, ball.shape)
    channels = np.full(ball.shape, 255, np.uint8)
    channels[[2, 4]] = ball[[2, 4]]
    return Sample(raw.clip(0, 255).astype(np.uint8), channels), ball


def test_a_network_of_volumes_learns_from_labelled_sections():
    labelled, truth = balls()
    torch.manual_seed(11)
    net = build("unet3d", {"feature_maps": 4, "levels": 2, "planar_levels": 1}, 2)
    net.set_input_statistics(*input_statistics([labelled]))
    sampler = CropSampler([labelled], patch=(4, 24, 24), batch_size=4, seed=7)
    settings = replace(SETTINGS, steps=60, patch=(4, 24, 24))
    outcome = fit(net, sampler, settings, Log().hooks())
    assert outcome.loss < 0.5 * outcome.first_loss
    with torch.inference_mode():
        x = torch.from_numpy(labelled.raw.astype(np.float32)[None] / 255)
        guess = net(x).argmax(1)[0].numpy().astype(bool)
    # On the sections between the labelled ones too.
    iou = (guess & truth)[2:6].sum() / (guess | truth)[2:6].sum()
    assert iou > 0.6


def test_a_network_with_neighbours_learns_what_only_they_show():
    """Odd sections are noise; what is labelled on them are the discs of the even ones."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    disc = (y % 32 - 16) ** 2 + (x % 32 - 16) ** 2 < 60
    raw = np.full((5, 64, 64), 120.0)
    # Shifted, so that the place alone tells nothing.
    volumes = [np.roll(disc, (shift, 2 * shift), (0, 1)) for shift in (0, 7, 13)]
    samples = []
    for truth in volumes:
        raw[::2] = np.where(truth, 170, 80)
        noisy = (raw + rng.normal(0, 10, raw.shape)).clip(0, 255).astype(np.uint8)
        samples.append(Sample(noisy[2:5], truth[None].astype(np.uint8)))
    torch.manual_seed(11)
    net = build("unet2d", {"feature_maps": 4, "levels": 2, "in_channels": 3}, 2)
    net.set_input_statistics(*input_statistics(samples))
    sampler = CropSampler(samples, patch=(1, 32, 32), batch_size=4, seed=7)
    settings = replace(SETTINGS, steps=80)
    fit(net, sampler, settings, Log().hooks())
    with torch.inference_mode():
        guess = net(torch.from_numpy(samples[1].raw.astype(np.float32)[None] / 255)).argmax(1)
    guess = guess[0, 0].numpy().astype(bool)
    assert (guess & volumes[1]).sum() / (guess | volumes[1]).sum() > 0.7
