"""A small task that a network learns in seconds, shared by the tests of training."""

import numpy as np
import torch

from biosegment.nets.architectures import build
from biosegment.training.child.samples import CropSampler, Sample, input_statistics
from biosegment.training.child.settings import Hooks, Settings

SETTINGS = Settings(
    steps=12,
    batch_size=4,
    learning_rate=1e-2,
    patch=(1, 32, 32),
    seed=7,
    checkpoint_steps=5,
    dice_weight=0.5,
)


def sample(seed=0):
    """Bright discs on dark ground; only a part is labelled."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    disc = ((y % 32 - 16) ** 2 + (x % 32 - 16) ** 2 < 60)[None]
    raw = np.where(disc, 170, 80) + rng.normal(0, 12, disc.shape)
    channels = disc.astype(np.uint8)
    channels[:, 40:] = 255
    return Sample(raw.clip(0, 255).astype(np.uint8), channels)


def samples(count):
    """Several of them, with different noise."""
    return [sample(n) for n in range(count)]


def sampler(taken=None, batch_size=4):
    return CropSampler(taken or [sample()], patch=(1, 32, 32), batch_size=batch_size, seed=7)


def network():
    torch.manual_seed(11)
    net = build("unet2d", {"feature_maps": 4, "levels": 2}, 2)
    net.set_input_statistics(*input_statistics([sample()]))
    return net


class Log:
    """What a run told."""

    def __init__(self, cancel_at=None):
        self.steps, self.checkpoints, self.losses, self._cancel_at = [], [], [], cancel_at
        self.ious = {}

    def hooks(self, **more):
        return Hooks(
            progress=self.progress,
            store=self.checkpoints.append,
            cancelled=lambda: self._cancel_at is not None and self.steps[-1] >= self._cancel_at,
            measured=self.measured,
            **more,
        )

    def progress(self, step, loss):
        self.steps.append(step)
        self.losses.append(loss)

    def measured(self, step, iou):
        self.ious[step] = iou
        return False


def state(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}
