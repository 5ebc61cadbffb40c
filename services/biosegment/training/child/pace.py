"""How fast a run goes, how it keeps to the time that it has, and how it ends early.

Where a run is bounded by time, the learning rate follows what is spent of the time as it follows
the steps elsewhere (Li, Yumer and Ramanan, "Budgeted Training", 2020), so that a run which is cut
short has gone through the same rates as a long one. Seconds travel within the checkpoint: a run
that goes on from one has only what is left.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

from biosegment.training.child.module import Training
from biosegment.training.child.settings import Hooks, Settings

# The first step also makes room and chooses kernels.
_UNTIMED = 1
_TIMED = 3
_WARM, _WARM_STEPS = 0.1, 50
_COOLING, _COOLING_SECONDS = 0.1, 5.0


def budgeted(step: int, along: float) -> float:
    """Factor of the learning rate in a run that is bounded by time.

    Args:
        step: Steps taken.
        along: How much is spent of the time or of the steps, 0 to 1, whichever is more.
    """
    warm = min(1.0, max(along / _WARM, (step + 1) / _WARM_STEPS))
    return warm * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, along))))


class Pace(pl.Callback):
    """Times the steps of a run, and ends it when its time is over or when it is asked to."""

    def __init__(
        self, hooks: Hooks, settings: Settings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._hooks = hooks
        self._steps, self._limit = settings.steps, settings.max_seconds
        self._clock = clock
        # Of all attempts together, and of the steps of this one that are timed.
        self._seconds = self._timed_seconds = 0.0
        self._taken = 0
        self._last = 0.0
        # Step, seconds and factor of the rate when it was asked to end.
        self._cooling: tuple[int, float, float] | None = None
        self._usual: Callable[[int], float] = lambda _step: 1.0
        self._out_of_time = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Puts itself between the steps and the learning rate."""
        assert isinstance(pl_module, Training)
        if pl_module.rate != self._rate:
            self._usual, pl_module.rate = pl_module.rate, self._rate

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._last = self._clock()
        self._taken, self._timed_seconds = 0, 0.0

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Books the time of a step, and ends the run if it is time to."""
        step, time_ = trainer.global_step, self._clock()
        passed, self._last = time_ - self._last, time_
        self._seconds += passed
        self._taken += 1
        if self._taken > _UNTIMED:
            self._timed_seconds += passed
        if self._cooling is None and self._hooks.finishing():
            self._cooling = step, self._seconds, self._rate(step)
        self._tell(step)
        if step >= self._steps:
            return
        self._out_of_time = bool(self._limit) and self._seconds >= self._limit
        if self._out_of_time or self._cooled(step) >= 1:
            trainer.should_stop = True

    def _tell(self, step: int) -> None:
        timed = self._taken - _UNTIMED
        if timed < _TIMED and not self._cooling:
            return
        cost = self._timed_seconds / timed if timed > 0 else self._seconds / max(1, step)
        left = float(self._steps - step)
        if self._limit and cost > 0:
            left = min(left, max(0.0, self._limit - self._seconds) / cost)
        if self._cooling and cost > 0:
            _, began, _ = self._cooling
            left = min(left, max(0.0, began + _COOLING_SECONDS - self._seconds) / cost)
        self._hooks.paced(min(self._steps, step + math.ceil(left)), left * cost)

    def _cooled(self, step: int) -> float:
        """How far a run that was asked to end is with it; 1 is the end."""
        if self._cooling is None:
            return 0.0
        first, began, _ = self._cooling
        steps = max(1, round(_COOLING * first))
        return max((step - first) / steps, (self._seconds - began) / _COOLING_SECONDS)

    def _rate(self, step: int) -> float:
        if self._cooling is not None:
            return self._cooling[2] * (1.0 - 0.99 * min(1.0, self._cooled(step)))
        if not self._limit:
            return self._usual(step)
        return budgeted(step, max(step / self._steps, self._seconds / self._limit))

    def figures(self) -> dict[str, float]:
        """How the run ended, where it did before its last step; empty otherwise."""
        if self._out_of_time:
            return {"out_of_time": 1.0}
        return {"finished_early": 1.0} if self._cooling is not None else {}

    def state_dict(self) -> dict[str, Any]:
        """Goes into the checkpoint."""
        return {"seconds": self._seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Comes out of the checkpoint."""
        # What an attempt lost for want of memory was spent all the same.
        self._seconds = max(self._seconds, state_dict["seconds"])
