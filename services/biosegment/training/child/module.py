"""The network under training, as Lightning wants it."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
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
        step_loss: Loss of the last step.
        recent_loss: Running mean of the loss, most weight on the last steps.
        rate: Factor of the learning rate after so many steps.
        parts: Pieces that a batch is cut into, one after another, where the device cannot hold it
            whole. Gradients add up over a step; batch statistics are those of a piece.
    """

    def __init__(
        self, network: Network, *, learning_rate: float, steps: int, dice_weight: float, seed: int
    ) -> None:
        super().__init__()
        self.network = network
        self._learning_rate = learning_rate
        self.rate: Callable[[int], float] = partial(schedule, steps=steps)
        self._dice_weight = dice_weight
        self._seed = seed
        self.parts = 1
        self.first_loss: float | None = None
        self.recent_loss: float | None = None
        self.step_loss = 0.0
        self._waiting: list[tuple[Tensor, Tensor]] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seeds what is drawn inside the step (dropout), so that a resumed run draws the same."""
        torch.manual_seed(self._seed * 1_000_003 + self.global_step)

    def forward(self, raw: Tensor) -> Tensor:
        """Class logits, float32 (N, classes, z, y, x), of raw crops as the network takes them."""
        # The loss is computed in float32, whatever the network computes in.
        logits: Tensor = self.network(raw).float()
        return logits

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Loss of a batch: raw on the unit scale as ``Network.forward`` takes it, and channel
        indices (N, z, y, x).
        """
        raw, labels = batch
        return segmentation_loss(self(raw), labels, dice_weight=self._dice_weight)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of a batch, or of its first piece; ``backward`` takes the others.

        Raises:
            FailedPreconditionError: The loss is not finite.
        """
        self.step_loss = 0.0
        pieces = zip(*(tensor.tensor_split(self.parts) for tensor in batch), strict=True)
        first, *self._waiting = pieces
        return self._share(first)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Gradients of a step, piece by piece, so that only one piece's activations are held.

        Raises:
            FailedPreconditionError: The loss is not finite.
        """
        loss.backward()  # type: ignore[no-untyped-call]
        precision = self.trainer.precision_plugin
        while self._waiting:
            with precision.train_step_context():
                share = self._share(self._waiting.pop(0))
            precision.pre_backward(share, self).backward()  # type: ignore[no-untyped-call]
        if self.first_loss is None or self.recent_loss is None:
            self.first_loss = self.recent_loss = self.step_loss
        self.recent_loss += 0.1 * (self.step_loss - self.recent_loss)

    def _share(self, piece: tuple[Tensor, Tensor]) -> Tensor:
        """What a piece adds to the loss of its step."""
        share = self.loss(piece) / self.parts
        value = float(share.detach())
        if not math.isfinite(value):
            raise FailedPreconditionError(
                f"Training diverged at step {self.global_step}: the loss is {value}. Train again "
                f"with a learning rate below {self._learning_rate:g}."
            )
        self.step_loss += value
        return share

    def configure_optimizers(self) -> Any:
        """AdamW (Loshchilov and Hutter, 2019) with the schedule counted in steps."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=self._learning_rate,
            weight_decay=_WEIGHT_DECAY,
            # A fused step would undo the scaling of the loss by itself, after the clipping.
            fused=not isinstance(self.trainer.precision_plugin, MixedPrecision),
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.rate(step))
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
