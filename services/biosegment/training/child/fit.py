"""A training run on samples in memory: arrays in, a trained network out."""

import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from biosegment.client.errors import JobCancelledError, OutOfMemoryError
from biosegment.client.geometry import ZYX
from biosegment.nets.network import Network, channels_last
from biosegment.runtime import log
from biosegment.training.child.augment import augment
from biosegment.training.child.module import Training
from biosegment.training.child.samples import CropSampler

_log = log.get(__name__)
_CLIP = 1.0
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to train.

    Attributes:
        steps: Optimiser steps.
        batch_size: Crops per step.
        learning_rate: Peak learning rate.
        patch: Extent of a crop, (z, y, x).
        seed: Of every random choice.
        checkpoint_steps: Steps between checkpoints.
        dice_weight: Weight of the Dice term, 0 to 1.
    """

    steps: int
    batch_size: int
    learning_rate: float
    patch: ZYX
    seed: int
    checkpoint_steps: int
    dice_weight: float


@dataclass(frozen=True, slots=True)
class Hooks:
    """How a run speaks to whoever started it.

    Attributes:
        progress: Called after each step with (steps done, loss).
        store: Gets the bytes of each checkpoint.
        cancelled: Asked after each step whether to stop.
    """

    progress: Callable[[int, float], None]
    store: Callable[[bytes], None]
    cancelled: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        first_loss: Loss of the first step.
        loss: Running mean of the loss at the end.
        resumed_from_step: Step of the checkpoint that it went on from; 0 for a fresh start.
    """

    first_loss: float
    loss: float
    resumed_from_step: int


class _Batches(IterableDataset[Batch]):
    """Endless batches from a step on."""

    def __init__(self, batch: Callable[[int], Batch], start: int) -> None:
        self._batch = batch
        self._start = start

    def __iter__(self) -> Iterator[Batch]:
        return map(self._batch, count(self._start))


class _Watch(pl.Callback):
    """Reports, stores checkpoints, and stops the run when it is cancelled."""

    def __init__(self, hooks: Hooks, every: int, folder: Path) -> None:
        self._hooks = hooks
        self._every = every
        self._path = folder / "checkpoint"

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Looks after the run between two steps."""
        assert isinstance(pl_module, Training)
        step = trainer.global_step
        self._hooks.progress(step, pl_module.recent_loss or 0.0)
        cancelled = self._hooks.cancelled()
        if cancelled or (step % self._every == 0 and step < trainer.max_steps):
            trainer.save_checkpoint(self._path)
            self._hooks.store(self._path.read_bytes())
        if cancelled:
            raise JobCancelledError(f"Training was stopped at step {step}; its checkpoint is kept.")


def checkpoint_step(checkpoint: bytes) -> int | None:
    """The step that a checkpoint was made at, None if it cannot be read.

    It is opened with ``weights_only``, so nothing in it is executed.
    """
    try:
        content = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
        return int(content["global_step"])
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, training starts anew
        _log.warning("checkpoint.unreadable", error=str(error)[:300])
        return None


def fit(
    network: Network,
    sampler: CropSampler,
    settings: Settings,
    hooks: Hooks,
    *,
    checkpoint: bytes | None = None,
) -> Outcome:
    """Trains a network in place and leaves it on the CPU in eval mode.

    Args:
        network: With fresh weights, or those to fine-tune.
        sampler: Where batches come from.
        settings: How to train.
        hooks: Progress, checkpoints, cancellation.
        checkpoint: Of an earlier attempt with the same settings; weights, optimiser, schedule,
            step and batches go on from it. One that cannot be read is passed over.

    Raises:
        JobCancelledError: hooks.cancelled said so; a checkpoint was stored before.
        FailedPreconditionError: The loss is not finite.
        OutOfMemoryError: The device has too little memory for the batch.
    """
    module = Training(
        channels_last(network.train()),
        learning_rate=settings.learning_rate,
        steps=settings.steps,
        dice_weight=settings.dice_weight,
        seed=settings.seed,
    )

    def batch(step: int) -> Batch:
        raw, labels = sampler.batch(step)
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
        return augment(torch.from_numpy(raw), torch.from_numpy(labels), generator)

    return run(module, batch, settings, hooks, checkpoint=checkpoint)


def run(
    module: Training,
    batch: Callable[[int], Batch],
    settings: Settings,
    hooks: Hooks,
    *,
    checkpoint: bytes | None = None,
) -> Outcome:
    """Takes the steps of a run, and leaves its network on the CPU in eval mode.

    Args:
        module: The network with its loss.
        batch: The batch of a step, which depends on the step alone.
        settings: How to train.
        hooks: Progress, checkpoints, cancellation.
        checkpoint: Of an earlier attempt, as for ``fit``.

    Raises:
        JobCancelledError: hooks.cancelled said so; a checkpoint was stored before.
        FailedPreconditionError: The loss is not finite.
        OutOfMemoryError: The device has too little memory for the batch.
    """
    resumed = checkpoint_step(checkpoint) if checkpoint else None
    start = resumed or 0
    loader = DataLoader(_Batches(batch, start), batch_size=None, num_workers=0)
    with tempfile.TemporaryDirectory(prefix="biosegment-train-") as name, _quiet():
        folder = Path(name)
        path = None
        if resumed is not None and checkpoint is not None:
            path = folder / "resume.ckpt"
            path.write_bytes(checkpoint)
        trainer = pl.Trainer(
            accelerator="auto",
            devices=1,
            max_steps=settings.steps,
            max_epochs=-1,
            gradient_clip_val=_CLIP,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
            callbacks=[_Watch(hooks, settings.checkpoint_steps, folder)],
        )
        try:
            trainer.fit(module, loader, ckpt_path=path, weights_only=True)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                raise OutOfMemoryError(
                    f"A batch of {settings.batch_size} crops of "
                    f"{' × '.join(map(str, settings.patch))} voxels (z, y, x) does not fit into "
                    "the memory of the device. Train with a smaller batch_size or patch."
                ) from None
            raise
    module.network.cpu().eval()
    return Outcome(module.first_loss or 0.0, module.recent_loss or 0.0, start)


class _quiet(warnings.catch_warnings):  # noqa: N801 - a context manager
    """Lightning's advice to people at a notebook does not belong into a service's log."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
