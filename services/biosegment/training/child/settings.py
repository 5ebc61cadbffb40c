"""How to train, how a run speaks to whoever started it, and what it came to."""

from collections.abc import Callable
from dataclasses import dataclass, field

from biosegment.client.geometry import ZYX
from biosegment.training.child.event_log import EventLog
from biosegment.training.child.precision import AUTO, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOut:
    """How patches are held out of training.

    Attributes:
        fraction: Of the patches, more than 0 and at most 0.5.
        every_steps: Steps between measurements.
        patience: Measurements in a row without a better one, after which training stops.
    """

    fraction: float
    every_steps: int
    patience: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to train.

    Attributes:
        steps: Optimiser steps, at most.
        batch_size: Crops per step.
        learning_rate: Peak learning rate.
        patch: Extent of a crop, (z, y, x).
        seed: Of every random choice.
        checkpoint_steps: Steps between checkpoints.
        dice_weight: Weight of the Dice term, 0 to 1.
        hold_out: How patches are held out; None trains on all.
        precision: What the network computes with; AUTO is what suits the device.
        parts: Pieces that a batch is cut into from the start; more where memory demands it.
        max_seconds: Of training, at most, about; 0 for as long as the steps take.
    """

    steps: int
    batch_size: int
    learning_rate: float
    patch: ZYX
    seed: int
    checkpoint_steps: int
    dice_weight: float
    hold_out: HoldOut | None = None
    precision: Precision = AUTO
    parts: int = 1
    max_seconds: float = 0.0


def _never(_step: int, _iou: float) -> bool:
    return False


def _not_asked() -> bool:
    return False


def _unheard(_steps: int, _seconds: float) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Hooks:
    """How a run speaks to whoever started it.

    Attributes:
        progress: Called after each step with (steps done, loss).
        store: Gets the bytes of each checkpoint.
        cancelled: Asked after each step whether to stop.
        measured: Called after each measurement with (steps done, IoU on the patches held out);
            True ends the run.
        log: Takes the curves down; None means that nobody does.
        finishing: Asked after each step whether to end soon with what there is.
        paced: Called after each step, once some were timed, with (steps in all, about; seconds
            left).
    """

    progress: Callable[[int, float], None]
    store: Callable[[bytes], None]
    cancelled: Callable[[], bool]
    measured: Callable[[int, float], bool] = _never
    log: EventLog | None = None
    finishing: Callable[[], bool] = _not_asked
    paced: Callable[[int, float], None] = _unheard


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        first_loss: Loss of the first step.
        loss: Running mean of the loss at the end.
        resumed_from_step: Step of the checkpoint that it went on from; 0 for a fresh start.
        steps: Steps taken.
        parts: Pieces that batches were cut into in the end, for want of memory.
        held_out: What was measured on the patches held out, by name; empty without any.
        ending: How it ended, where it did before its last step, by name.
    """

    first_loss: float
    loss: float
    resumed_from_step: int
    steps: int
    parts: int = 1
    held_out: dict[str, float] = field(default_factory=dict)
    ending: dict[str, float] = field(default_factory=dict)
