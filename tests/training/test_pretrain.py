import numpy as np
import pytest
import torch

from biosegment.client.errors import FailedPreconditionError, JobCancelledError
from biosegment.client.geometry import Box
from biosegment.nets.architectures import build
from biosegment.runtime.grey import constant
from biosegment.training.child import pretrain as pretrain_module
from biosegment.training.child.pretrain import Corruption, corrupted, draw_crops, pretrain
from biosegment.training.child.samples import raw_statistics
from biosegment.training.child.settings import Hooks, Settings


@pytest.fixture(autouse=True)
def one_thread():
    """Sums over several threads come in any order, and training makes much of little."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def settings(steps):
    return Settings(
        steps=steps,
        batch_size=4,
        learning_rate=5e-3,
        patch=(1, 32, 32),
        seed=5,
        checkpoint_steps=4,
        dice_weight=0.5,
    )


def crops():
    """Bright discs on dark ground, at different places."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    made = []
    for _ in range(24):
        cy, cx = rng.integers(6, 26, 2)
        disc = (y - cy) ** 2 + (x - cx) ** 2 < 40
        made.append(np.where(disc, 170, 80) + rng.normal(0, 8, disc.shape))
    return np.stack(made).clip(0, 255).astype(np.uint8)[:, None]


def network():
    torch.manual_seed(2)
    return build("unet2d", {"feature_maps": 4, "levels": 2}, 3)


def quiet(store=None, cancel_at=None):
    steps = []
    return Hooks(
        lambda step, _loss: steps.append(step),
        (store if store is not None else []).append,
        lambda: cancel_at is not None and steps[-1] >= cancel_at,
    )


def test_it_learns_to_restore_and_keeps_the_head():
    net = network()
    head = net.head
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    outcome = pretrain(net, crops(), settings(60), quiet())
    assert outcome.loss < 0.7 * outcome.first_loss
    assert net.head is head
    assert not net.training
    after = net.state_dict()
    for name, tensor in after.items():
        if name.startswith("head"):
            assert torch.equal(tensor, before[name])
    assert not torch.equal(after["bottleneck.0.weight"], before["bottleneck.0.weight"])
    scaled = crops().astype(np.float64) / 255
    assert float(net.input_mean) == pytest.approx(scaled.mean(), rel=1e-4)
    assert float(net.input_std) == pytest.approx(scaled.std(), rel=1e-4)
    assert net(torch.zeros(1, 1, 32, 32)).shape == (1, 3, 1, 32, 32)


def test_a_run_that_is_cut_off_goes_on_to_the_same_weights():
    through, cut, stored = network(), network(), []
    pretrain(through, crops(), settings(10), quiet())
    with pytest.raises(JobCancelledError):
        pretrain(cut, crops(), settings(10), quiet(stored, cancel_at=6))
    assert cut.head.out_channels == 3
    resumed = network()
    outcome = pretrain(resumed, crops(), settings(10), quiet(), checkpoint=stored[-1])
    assert outcome.resumed_from_step == 6
    for name, tensor in through.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor)


def test_blocks_are_hidden_and_the_rest_is_noisy():
    truth = torch.full((64, 2, 20, 28), 0.5)
    how = Corruption(block=8, hidden=0.25, noise=0.5)
    seen = corrupted(truth, how, 0.2, torch.Generator().manual_seed(1))
    hidden = seen.isnan()
    assert float(hidden.float().mean()) == pytest.approx(0.25, abs=0.03)
    # Through all sections.
    block = hidden[..., 8:16, 8:16]
    assert torch.equal(block.flatten(1).all(1), block.flatten(1).any(1))
    spread = torch.stack([crop[~gone].std() for crop, gone in zip(seen, hidden, strict=True)])
    assert float(spread.max()) < 0.12
    assert float(spread.min()) < 0.02
    clear = corrupted(truth, Corruption(hidden=0.0, noise=0.0), 0.2, torch.Generator())
    assert torch.equal(clear, truth)


def test_nothing_to_learn_from_is_said():
    with pytest.raises(FailedPreconditionError, match="no crops"):
        pretrain(network(), np.empty((0, 1, 32, 32), np.uint8), settings(1), quiet())
    with pytest.raises(FailedPreconditionError, match="uint8"):
        pretrain(network(), np.zeros((2, 1, 32, 32), np.int64), settings(1), quiet())


def test_a_network_with_neighbours_restores_the_middle_section():
    torch.manual_seed(2)
    net = build("unet2d", {"feature_maps": 4, "levels": 2, "in_channels": 3}, 3)
    # Above and below lies something else, which can be no help.
    other = np.random.default_rng(1).integers(0, 255, crops().shape).astype(np.uint8)
    outcome = pretrain(net, np.concatenate((other, crops(), other), axis=1), settings(60), quiet())
    assert outcome.loss < 0.8 * outcome.first_loss
    assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 1, 32, 32)


def test_a_network_of_volumes_restores_all_sections():
    torch.manual_seed(2)
    net = build("unet3d", {"feature_maps": 4, "levels": 2, "planar_levels": 1}, 3)
    head = net.head
    outcome = pretrain(net, np.repeat(crops(), 2, axis=1), settings(40), quiet())
    assert outcome.loss < 0.8 * outcome.first_loss
    assert net.head is head


def padded(value, inside, shape=(6, 96, 160)):
    """Noise in a box, one value around it."""
    raw = np.full(shape, value, np.uint8)
    raw[inside.slices] = np.random.default_rng(3).integers(20, 230, inside.shape)
    return raw


@pytest.mark.parametrize("value", [0, 255, 128])
def test_no_crop_falls_on_padding(monkeypatch, value):
    monkeypatch.setattr(pretrain_module, "_MOST_CROPS", 30)
    inside = Box((1, 16, 30), (6, 80, 110))
    raw = padded(value, inside)
    region = Box.of_shape(raw.shape)
    made = draw_crops(lambda box: raw[box.slices], region, (1, 32, 32), seed=1)
    assert made.shape == (30, 1, 32, 32)
    assert not any(constant(crop[0]).any() for crop in made)


def test_crops_with_some_padding_make_up_for_what_is_missing(monkeypatch):
    monkeypatch.setattr(pretrain_module, "_MOST_CROPS", 20)
    raw = padded(0, Box((0, 10, 10), (6, 50, 40)))
    region = Box.of_shape(raw.shape)
    made = draw_crops(lambda box: raw[box.slices], region, (1, 48, 48), seed=1)
    shares = [constant(crop[0]).mean() for crop in made]
    assert 0 < max(shares) <= 0.5


def test_a_region_of_padding_alone_is_said(monkeypatch):
    monkeypatch.setattr(pretrain_module, "_MOST_CROPS", 5)
    raw = np.full((2, 64, 64), 9, np.uint8)
    with pytest.raises(FailedPreconditionError, match="padding"):
        draw_crops(lambda box: raw[box.slices], Box.of_shape(raw.shape), (1, 32, 32), seed=1)


def test_padding_does_not_enter_the_input_constants():
    inside = Box((0, 16, 30), (6, 80, 110))
    raw = padded(0, inside)
    assert raw_statistics([raw]) == pytest.approx(raw_statistics([raw[inside.slices]]))
    # One that is nothing but padding says nothing, unless all are so.
    flat = np.full_like(raw, 200)
    assert raw_statistics([raw, flat]) == pytest.approx(raw_statistics([raw]))
    assert raw_statistics([flat]) == pytest.approx((200 / 255, 0.0), abs=1e-6)
