"""Learning rate and batch size, found by trying on a copy of the network before training."""

import copy
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from biosegment.client.errors import FailedPreconditionError, OutOfMemoryError
from biosegment.nets.network import Network
from biosegment.training.child.fit import Batch, attempt, prepare
from biosegment.training.child.module import Training
from biosegment.training.child.samples import CropSampler, Sample
from biosegment.training.child.settings import Settings

_LOWEST_RATE, _HIGHEST_RATE = 1e-6, 1e-1
_RATES = 100
_SMOOTHING = 0.9
_HOPELESS = 4.0
_LEAST_FALL = 0.02
_MOST_CROPS = 1024
_GAIN = 1.05
_TIMED_STEPS = 3


def find(
    network: Network,
    samples: Sequence[Sample],
    settings: Settings,
    *,
    learning_rate: bool,
    batch_size: bool,
    check: Callable[[], None] = lambda: None,
) -> Settings:
    """Settings with what was found: the batch size first, then the rate that suits it.

    Args:
        network: As training will find it; it is not changed.
        samples: To train on.
        settings: How it will be trained.
        learning_rate: Whether to find the peak learning rate.
        batch_size: Whether to find the number of crops per step.
        check: Called between steps; may raise to stop.

    Raises:
        OutOfMemoryError: The device has too little memory even for one crop.
    """

    def tools(settings: Settings) -> tuple[Training, Callable[[int], Batch], Settings]:
        sampler = CropSampler(
            samples, patch=settings.patch, batch_size=settings.batch_size, seed=settings.seed
        )
        return (*prepare(network, sampler, settings), settings)

    if batch_size:
        settings = replace(settings, batch_size=find_batch_size(*tools(settings), check))
    if learning_rate:
        found = find_learning_rate(*tools(settings), check)
        settings = replace(settings, learning_rate=found or settings.learning_rate)
    return settings


class _Sweep(pl.Callback):
    """Raises the learning rate from step to step, and takes the losses down."""

    def __init__(self, rates: Sequence[float], check: Callable[[], None]) -> None:
        self._rates = rates
        self._check = check
        self.losses: list[float] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Sets the rate of the step."""
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self._rates[trainer.global_step]

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Notes the loss; one that has grown out of all proportion ends the sweep."""
        assert isinstance(pl_module, Training)
        self._check()
        self.losses.append(pl_module.step_loss)
        if self.losses[-1] > _HOPELESS * min(self.losses):
            trainer.should_stop = True


def find_learning_rate(
    module: Training,
    batch: Callable[[int], Batch],
    settings: Settings,
    check: Callable[[], None] = lambda: None,
) -> float | None:
    """A peak learning rate, by the range test of Smith, "Cyclical Learning Rates" (2017).

    A copy of the network takes 100 steps, each at a rate a little higher than the one before,
    from 1e-6 to 1e-1. The answer is the rate at which the smoothed loss falls fastest.

    Args:
        module: The network with its loss; it is not changed.
        batch: The batch of a step.
        settings: How it will be trained.
        check: Called between steps; may raise to stop.

    Returns:
        The rate, None where the loss does not fall (a network that has learnt all there is).

    Raises:
        OutOfMemoryError: The device has too little memory.
    """
    ratio = _HIGHEST_RATE / _LOWEST_RATE
    rates = [_LOWEST_RATE * ratio ** (step / (_RATES - 1)) for step in range(_RATES)]
    sweep = _Sweep(rates, check)
    trial = copy.deepcopy(module)
    trial.parts = settings.parts
    with tempfile.TemporaryDirectory(prefix="biosegment-rate-") as name:
        # A loss that is no longer finite ends the test; what came before it counts.
        try:
            attempt(trial, batch, replace(settings, steps=_RATES), [sweep], Path(name))
        except FailedPreconditionError:
            if not sweep.losses:
                raise
        except OutOfMemoryError:
            if settings.parts >= settings.batch_size:
                raise
            parts = min(2 * settings.parts, settings.batch_size)
            return find_learning_rate(module, batch, replace(settings, parts=parts), check)
    return steepest(rates, sweep.losses)


def steepest(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate at which the loss falls fastest over the logarithm of the rate.

    Args:
        rates: Rising by a constant factor.
        losses: One for each of the first rates.

    Returns:
        The rate, None where the smoothed loss falls by less than a fiftieth.
    """
    smooth: list[float] = []
    mean = 0.0
    for n, loss in enumerate(losses, 1):
        mean = _SMOOTHING * mean + (1.0 - _SMOOTHING) * loss
        # Corrected for the zero that it began with, as in Adam.
        smooth.append(mean / (1.0 - _SMOOTHING**n))
    if not smooth:
        return None
    lowest = smooth.index(min(smooth))
    if lowest < 2 or smooth[lowest] > (1.0 - _LEAST_FALL) * smooth[0]:
        return None
    falls = [smooth[n - 1] - smooth[n + 1] for n in range(1, lowest)]
    return rates[1 + falls.index(max(falls))]


class _Clock(pl.Callback):
    """Times the steps after the first, which pays for what is made once."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self.times: list[float] = []

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Notes the time."""
        self._check()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())


def find_batch_size(
    module: Training,
    batch: Callable[[int], Batch],
    settings: Settings,
    check: Callable[[], None] = lambda: None,
) -> int:
    """The number of crops per step from which on the device gains nothing.

    Args:
        module: The network with its loss; it is not changed.
        batch: The batch of a step, whose crops are repeated for larger ones.
        settings: How it will be trained; its batch_size is where the search begins.
        check: Called between steps; may raise to stop.

    Raises:
        OutOfMemoryError: The device has too little memory even for one crop.
    """
    raw, labels = batch(0)

    def seconds_per_crop(size: int) -> float:
        index = torch.arange(size) % raw.shape[0]
        crops = raw[index], labels[index]
        clock = _Clock(check)
        trial = replace(settings, steps=1 + _TIMED_STEPS, batch_size=size)
        with tempfile.TemporaryDirectory(prefix="biosegment-batch-") as name:
            attempt(copy.deepcopy(module), lambda _: crops, trial, [clock], Path(name))
        torch.cuda.empty_cache()
        return (clock.times[-1] - clock.times[0]) / _TIMED_STEPS / size

    return largest_worthwhile(seconds_per_crop, settings.batch_size)


def largest_worthwhile(
    seconds_per_crop: Callable[[int], float], first: int, most: int = _MOST_CROPS
) -> int:
    """Doubles while it fits and pays, halves while it does not fit.

    Args:
        seconds_per_crop: Tries a size.
        first: The size to begin with.
        most: The largest size to try.

    Returns:
        The largest size that was at least a twentieth faster per crop than half of it; the first
        one that fits, where none was.

    Raises:
        OutOfMemoryError: Not even one crop fits.
    """
    size, best = first, math.inf
    while best == math.inf:
        try:
            best = seconds_per_crop(size)
        except OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
    if size < first:
        return size
    while 2 * size <= most:
        try:
            found = seconds_per_crop(2 * size)
        except OutOfMemoryError:
            return size
        if found * _GAIN > best:
            return size
        size, best = 2 * size, found
    return size
