"""What looks after a run between two steps: progress, curves, checkpoints, cancellation."""

import io
import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from biosegment.client.errors import JobCancelledError
from biosegment.runtime import log
from biosegment.training.child.module import Training
from biosegment.training.child.settings import Hooks, Settings

_log = log.get(__name__)
_MOST_POINTS = 1000
_CHECKPOINT_SECONDS = 60.0


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


class Watch(pl.Callback):
    """Reports, stores checkpoints, and stops the run when it is cancelled.

    Attributes:
        path: File of the newest checkpoint, there from the start of the run on.
    """

    def __init__(self, hooks: Hooks, settings: Settings, folder: Path) -> None:
        self._hooks = hooks
        self._every = settings.checkpoint_steps
        # What a run has spent of its time must not be lost with a worker.
        self._seconds = _CHECKPOINT_SECONDS if settings.max_seconds else math.inf
        self._stored = time.monotonic()
        self._point = max(1, settings.steps // _MOST_POINTS)
        self.path = folder / "checkpoint"

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keeps the beginning, which a run that lacks memory goes back to."""
        if not self.path.exists():
            trainer.save_checkpoint(self.path)

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
        step, events = trainer.global_step, self._hooks.log
        loss = pl_module.recent_loss or 0.0
        self._hooks.progress(step, loss)
        if events is not None and (step % self._point == 0 or step == 1):
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            events.scalars(step, {"loss": loss, "learning_rate": rate})
        ended = trainer.should_stop or step >= trainer.max_steps
        cancelled = not ended and self._hooks.cancelled()
        due = step % self._every == 0 or time.monotonic() - self._stored >= self._seconds
        if cancelled or (due and not ended):
            self._stored = time.monotonic()
            trainer.save_checkpoint(self.path)
            if events is not None:
                # First, so that no checkpoint lacks the curves before it.
                events.flush(step)
            self._hooks.store(self.path.read_bytes())
        if cancelled:
            raise JobCancelledError(f"Training was stopped at step {step}; its checkpoint is kept.")
