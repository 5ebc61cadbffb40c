"""A training run on samples in memory: arrays in, a trained network out."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from biosegment.client.errors import OutOfMemoryError
from biosegment.nets.network import Network, channels_last
from biosegment.runtime import log
from biosegment.training.child import precision
from biosegment.training.child.augment import augment
from biosegment.training.child.early_stopping import EarlyStopping
from biosegment.training.child.module import Training
from biosegment.training.child.pace import Pace
from biosegment.training.child.samples import CropSampler
from biosegment.training.child.settings import Hooks, Outcome, Settings
from biosegment.training.child.watch import Watch, checkpoint_step
from biosegment.training.scratch import scratch

_log = log.get(__name__)
_CLIP = 1.0
Batch = tuple[Tensor, Tensor]


class _Batches(IterableDataset[Batch]):
    """Endless batches from a step on."""

    def __init__(self, batch: Callable[[int], Batch], start: int) -> None:
        self._batch = batch
        self._start = start

    def __iter__(self) -> Iterator[Batch]:
        return map(self._batch, count(self._start))


def prepare(
    network: Network, sampler: CropSampler, settings: Settings
) -> tuple[Training, Callable[[int], Batch]]:
    """The network with its loss, and the augmented batch of a step."""
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

    return module, batch


def fit(
    network: Network,
    sampler: CropSampler,
    settings: Settings,
    hooks: Hooks,
    *,
    checkpoint: bytes | None = None,
    stopping: EarlyStopping | None = None,
) -> Outcome:
    """Trains a network in place and leaves it on the CPU in eval mode.

    Args:
        network: With fresh weights, or those to fine-tune.
        sampler: Where batches come from.
        settings: How to train.
        hooks: Progress, checkpoints, cancellation.
        checkpoint: Of an earlier attempt with the same settings; weights, optimiser, schedule,
            step and batches go on from it. One that cannot be read is passed over.
        stopping: Measures on patches that are held out, and leaves the best weights behind.

    Raises:
        JobCancelledError: hooks.cancelled said so; a checkpoint was stored before.
        FailedPreconditionError: The loss is not finite, or the precision is not to be had.
        OutOfMemoryError: The device has too little memory even for one crop at a time.
    """
    module, batch = prepare(network, sampler, settings)
    return run(module, batch, settings, hooks, checkpoint=checkpoint, stopping=stopping)


def run(
    module: Training,
    batch: Callable[[int], Batch],
    settings: Settings,
    hooks: Hooks,
    *,
    checkpoint: bytes | None = None,
    stopping: EarlyStopping | None = None,
) -> Outcome:
    """Takes the steps of a run, and leaves its network on the CPU in eval mode.

    Where the device lacks memory for a batch, the batch is cut into twice as many pieces, whose
    gradients add up to one step, and the run goes on from its newest checkpoint.

    Args:
        module: The network with its loss.
        batch: The batch of a step, which depends on the step alone.
        settings: How to train.
        hooks: Progress, checkpoints, cancellation.
        checkpoint: Of an earlier attempt, as for ``fit``.
        stopping: As for ``fit``.

    Raises:
        JobCancelledError: hooks.cancelled said so; a checkpoint was stored before.
        FailedPreconditionError: The loss is not finite, or the precision is not to be had.
        OutOfMemoryError: The device has too little memory even for one crop at a time.
    """
    resumed = checkpoint_step(checkpoint) if checkpoint else None
    with scratch() as folder:
        watch = Watch(hooks, settings, folder)
        if resumed is not None and checkpoint is not None:
            watch.path.write_bytes(checkpoint)
        pace = Pace(hooks, settings)
        # What is timed and measured comes before the checkpoint, which keeps it.
        callbacks = [pace, watch] if stopping is None else [pace, stopping, watch]
        parts = settings.parts
        start = resumed or 0
        while True:
            module.parts = parts
            if hooks.log is not None:
                hooks.log.restart(start)
            try:
                steps = attempt(module, batch, settings, callbacks, folder, watch.path, start)
                break
            except OutOfMemoryError:
                if parts >= settings.batch_size:
                    raise
            parts = min(2 * parts, settings.batch_size)
            start = checkpoint_step(watch.path.read_bytes()) or 0
            _log.warning("batch.cut", parts=parts, batch_size=settings.batch_size, step=start)
            torch.cuda.empty_cache()
    if stopping is not None:
        stopping.restore(module.network)
    if hooks.log is not None:
        hooks.log.flush(steps)
    module.network.cpu().eval()
    return Outcome(
        first_loss=module.first_loss or 0.0,
        loss=module.recent_loss or 0.0,
        resumed_from_step=resumed or 0,
        steps=steps,
        parts=parts,
        held_out=stopping.figures() if stopping is not None else {},
        ending=pace.figures(),
    )


def attempt(
    module: Training,
    batch: Callable[[int], Batch],
    settings: Settings,
    callbacks: Sequence[pl.Callback],
    folder: Path,
    checkpoint: Path | None = None,
    start: int = 0,
) -> int:
    """Takes the steps of a run as far as memory allows, and returns how many were taken.

    Args:
        module: The network with its loss.
        batch: The batch of a step.
        settings: How to train.
        callbacks: What looks after the run.
        folder: For files of the moment.
        checkpoint: File to go on from, if it exists.
        start: The step that it was made at.

    Raises:
        OutOfMemoryError: The device has too little memory for a batch in ``module.parts`` pieces.
    """
    path = checkpoint if checkpoint is not None and checkpoint.exists() else None
    loader = DataLoader(_Batches(batch, start), batch_size=None, num_workers=0)
    with _quiet():
        trainer = pl.Trainer(
            accelerator="auto",
            devices=1,
            precision=precision.LIGHTNING[precision.chosen(settings.precision)],
            max_steps=settings.steps,
            max_epochs=-1,
            gradient_clip_val=_CLIP,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
            callbacks=list(callbacks),
        )
        try:
            trainer.fit(module, loader, ckpt_path=path, weights_only=True)
        except (RuntimeError, MemoryError) as error:
            if not _lacks_memory(error):
                raise
            size = -(-settings.batch_size // module.parts)
            raise OutOfMemoryError(
                f"Not even {size} crop{'s' * (size > 1)} of {' × '.join(map(str, settings.patch))} "
                "voxels (z, y, x) at a time can be trained on in the memory of the device. Train "
                "with a smaller patch or a smaller network."
            ) from None
    return int(trainer.global_step)


def _lacks_memory(error: Exception) -> bool:
    # Of CPUs it is a plain RuntimeError, from torch's allocator or from oneDNN.
    words = ("can't allocate memory", "could not create a primitive")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        word in str(error) for word in words
    )


class _quiet(warnings.catch_warnings):  # noqa: N801 - a context manager
    """Lightning's advice to people at a notebook does not belong into a service's log."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
