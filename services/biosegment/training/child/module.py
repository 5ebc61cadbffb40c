"""The network under training, as Lightning wants it."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from biosegment.client.errors import FailedPreconditionError
from biosegment.nets.losses import segmentation_loss
from biosegment.nets.network import Network

_WEIGHT_DECAY = 1e-4


def schedule(step: int, *, steps: int) -> float:
    """Factor of the learning rate: linear warm-up over a tenth, then a cosine to a hundredth."""
    warm = max(1, min(50, steps // 10))
    if step < warm:
        return (step + 1) / warm
    along = min(1.0, (step - warm) / max(1, steps - warm))
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * along))


class Training(pl.LightningModule):
    """One training run.

    Attributes:
        network: What is trained.
        first_loss: Mean loss of the first steps, a number once there were any.
        recent_loss: Running mean of the loss, most weight on the last steps.
    """

    def __init__(
        self, network: Network, *, learning_rate: float, steps: int, dice_weight: float, seed: int
    ) -> None:
        super().__init__()
        self.network = network
        self._learning_rate = learning_rate
        self._steps = steps
        self._dice_weight = dice_weight
        self._seed = seed
        self.first_loss: float | None = None
        self.recent_loss: float | None = None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seeds what is drawn inside the step (dropout), so that a resumed run draws the same."""
        torch.manual_seed(self._seed * 1_000_003 + self.global_step)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Loss of a batch: raw on the unit scale as ``Network.forward`` takes it, and channel
        indices (N, z, y, x).
        """
        raw, labels = batch
        return segmentation_loss(self.network(raw), labels, dice_weight=self._dice_weight)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of a batch, looked after.

        Raises:
            FailedPreconditionError: The loss is not finite.
        """
        loss = self.loss(batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FailedPreconditionError(
                f"Training diverged at step {self.global_step}: the loss is {value}. Train again "
                f"with a learning rate below {self._learning_rate:g}."
            )
        if self.first_loss is None or self.recent_loss is None:
            self.first_loss = self.recent_loss = value
        self.recent_loss += 0.1 * (value - self.recent_loss)
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW (Loshchilov and Hutter, 2019) with the schedule counted in steps."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=self._learning_rate,
            weight_decay=_WEIGHT_DECAY,
            fused=True,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: schedule(step, steps=self._steps)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the loss figures."""
        checkpoint["losses"] = [self.first_loss, self.recent_loss]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the loss figures up again."""
        self.first_loss, self.recent_loss = checkpoint["losses"]
