"""Monte Carlo dropout: draws from the networks that dropout stands for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from biosegment.client.errors import FailedPreconditionError

_KINDS = (nn.Dropout, nn.Dropout2d, nn.Dropout3d)


def dropout_layers(module: nn.Module) -> list[nn.Dropout | nn.Dropout2d | nn.Dropout3d]:
    """The layers of a network that leave anything out in training."""
    return [layer for layer in module.modules() if isinstance(layer, _KINDS) and layer.p > 0]


@contextmanager
def one_draw(module: nn.Module, seed: int, number: int) -> Iterator[None]:
    """Leaves out feature maps of a network in eval mode for a while: one draw of its weights.

    Gal and Ghahramani, "Dropout as a Bayesian Approximation" (2016). The same maps are left out
    of every sample, since a draw is one network; so a patch's outcome depends neither on what it
    is batched with nor on the device. Batch normalisation and all else stays in eval mode, and
    the network is as before afterwards.

    Args:
        module: The network.
        seed: Decides, together with number; any 64-bit integer.
        number: Which draw.

    Raises:
        FailedPreconditionError: The network has no dropout.
    """
    layers = dropout_layers(module)
    if not layers:
        raise FailedPreconditionError(
            "The network has no dropout, so that passes with dropout would all be the same; create "
            "the model with dropout=0.1, or continue its newest version with that."
        )
    hooks = [
        layer.register_forward_hook(_leave_out(layer.p, (seed & (1 << 64) - 1, number, position)))
        for position, layer in enumerate(layers)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _leave_out(rate: float, seed: tuple[int, ...]) -> Callable[..., Tensor]:
    def hook(_layer: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        kept = np.random.default_rng(seed).random(output.shape[1]) >= rate
        scale = torch.from_numpy(kept / (1 - rate)).to(output)
        return output * scale.reshape(-1, *(1,) * (output.ndim - 2))

    return hook
