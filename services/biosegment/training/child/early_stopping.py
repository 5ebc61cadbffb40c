"""Stops a run when it no longer gets better on patches that are held out of it.

Lightning's own EarlyStopping and ModelCheckpoint count validation epochs and keep files. This one
counts steps, like everything else in a run, and its state, the best weights included, travels
within the run's checkpoint, so that a run which goes on from one ends as if it had not stopped.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from biosegment.nets.channels import IGNORE
from biosegment.training.child.held_out import crops, measure
from biosegment.training.child.module import Training
from biosegment.training.child.samples import Sample
from biosegment.training.child.settings import HoldOut, Hooks, Settings

_SHOWN = 3
# While the learning rate still rises, or foreground is not found at all, waiting says nothing.
_EARLY = 0.25


class EarlyStopping(pl.Callback):
    """Measures every so many steps, keeps the best weights, and stops after patience.

    Patience begins after the first quarter of the steps.

    Measuring comes before anything else that happens after a step, so that a checkpoint of that
    step holds what was measured.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Sequence[int],
        settings: Settings,
        hooks: Hooks,
        *,
        trained: bool = False,
    ) -> None:
        """Makes one for a run.

        Args:
            samples: Those held out.
            classes: Class values in channel order.
            settings: How to train; ``hold_out`` is set.
            hooks: Told of each measurement.
            trained: Whether the network knows something before the first step: it is measured
                then too, so that training which only harms it is undone.
        """
        assert settings.hold_out is not None
        self._how: HoldOut = settings.hold_out
        # Those with most foreground first, since the first ones are shown.
        self._crops = sorted(
            crops(samples, settings.patch),
            key=lambda crop: -np.count_nonzero((crop[1] != 0) & (crop[1] != IGNORE)),
        )
        self._patches = len(samples)
        self._classes = tuple(classes)
        self._batch_size = settings.batch_size
        self._hooks = hooks
        self._trained = trained
        self._best: dict[str, Tensor] | None = None
        self._figures: dict[str, float] = {}
        self._best_iou, self._best_step = -1.0, 0
        self._waited = 0
        self._stopped = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Shows what the network is to find, and measures one that knows something."""
        assert isinstance(pl_module, Training)
        if trainer.global_step > 0:
            return
        if self._hooks.log is not None:
            for n, (raw, labels) in enumerate(self._crops[:_SHOWN]):
                section = _middle(raw)
                low, high = float(section.min()), float(section.max())
                self._show(0, f"{n}/raw", _grey(section - low, max(high - low, 1e-6)))
                self._show(0, f"{n}/labels", _grey(_middle(labels), len(self._classes) - 1))
        if self._trained:
            self._look(trainer, pl_module, 0)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Measures, if it is time to."""
        assert isinstance(pl_module, Training)
        step = trainer.global_step
        last = step >= trainer.max_steps or trainer.should_stop
        if step % self._how.every_steps and not last:
            return
        iou = self._look(trainer, pl_module, step)
        if self._hooks.measured(step, iou) or self._waited >= self._how.patience:
            self._stopped = step < trainer.max_steps
            trainer.should_stop = True

    def _look(self, trainer: pl.Trainer, module: Training, step: int) -> float:
        """The IoU now, after the best was kept or a measurement waited."""
        figures = self._measure(trainer, module, step)
        iou = figures.get("iou", 0.0)
        if iou > self._best_iou:
            self._best_iou, self._best_step, self._waited = iou, step, 0
            self._figures = figures
            state = module.network.state_dict()
            self._best = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        elif step > trainer.max_steps * _EARLY:
            self._waited += 1
        return iou

    def _measure(self, trainer: pl.Trainer, module: Training, step: int) -> dict[str, float]:
        shown: list[NDArray[np.uint8]] = []

        def guess(raw: NDArray[np.float32]) -> NDArray[np.uint8]:
            # inference_mode would leave tensors behind that training cannot use.
            with torch.no_grad(), trainer.precision_plugin.forward_context():
                logits = module(torch.from_numpy(raw).to(module.device))
            found: NDArray[np.uint8] = logits.argmax(1).to(torch.uint8).cpu().numpy()
            shown.extend(found[: _SHOWN - len(shown)])
            return found

        module.network.eval()
        try:
            # No more at a time than training fits.
            size = -(-self._batch_size // module.parts)
            counts = measure(guess, self._crops, self._classes, size)
        finally:
            module.network.train()
        figures = counts.figures()
        if self._hooks.log is not None:
            self._hooks.log.scalars(step, {f"held_out/{k}": v for k, v in figures.items()})
            for n, found in enumerate(shown):
                self._show(step, f"{n}/predicted", _grey(_middle(found), len(self._classes) - 1))
        return figures

    def _show(self, step: int, name: str, pixels: NDArray[np.uint8]) -> None:
        if self._hooks.log is not None:
            self._hooks.log.image(step, f"held_out/{name}", pixels)

    def restore(self, network: nn.Module) -> None:
        """Gives a network the best weights."""
        if self._best is not None:
            network.load_state_dict(self._best)

    def figures(self) -> dict[str, float]:
        """What was measured with the best weights, and how the run ended."""
        made = {f"held_out_{name}": value for name, value in self._figures.items()}
        return made | {
            "held_out_patches": float(self._patches),
            "best_step": float(self._best_step),
            "stopped_early": float(self._stopped),
        }

    def state_dict(self) -> dict[str, Any]:
        """Goes into the checkpoint."""
        return {
            "best": self._best,
            "figures": self._figures,
            "best_iou": self._best_iou,
            "best_step": self._best_step,
            "waited": self._waited,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Comes out of the checkpoint."""
        self._best, self._figures = state_dict["best"], state_dict["figures"]
        self._best_iou, self._best_step = state_dict["best_iou"], state_dict["best_step"]
        self._waited, self._stopped = state_dict["waited"], False


def _middle(values: NDArray[Any]) -> NDArray[Any]:
    """The section in the middle of a crop, with or without neighbours at either end."""
    section: NDArray[Any] = values[len(values) // 2]
    return section


def _grey(values: NDArray[Any], top: float) -> NDArray[np.uint8]:
    """Values from 0 to top as greys; what is above (not labelled) is white."""
    return np.where(values > top, 255, values.clip(0, top) * (200 / top)).astype(np.uint8)
