"""What a training run computes with: decided here, and nowhere else."""

from typing import Literal, TypeAlias

import torch

from biosegment.client.errors import FailedPreconditionError
from biosegment.v1 import jobs_pb2

Precision: TypeAlias = "jobs_pb2.TrainingPrecision.ValueType"
_Words = Literal["32-true", "bf16-mixed", "16-mixed"]
AUTO = jobs_pb2.TRAINING_PRECISION_UNSPECIFIED
FLOAT32 = jobs_pb2.TRAINING_PRECISION_FLOAT32
BFLOAT16 = jobs_pb2.TRAINING_PRECISION_BFLOAT16
FLOAT16 = jobs_pb2.TRAINING_PRECISION_FLOAT16

LIGHTNING: dict[Precision, _Words] = {
    FLOAT32: "32-true",
    BFLOAT16: "bf16-mixed",
    FLOAT16: "16-mixed",
}
"""The words that Lightning's Trainer takes for them."""


def chosen(wanted: Precision) -> Precision:
    """The precision of this machine for a wish.

    Raises:
        FailedPreconditionError: float16 is wanted where there is no GPU.
    """
    capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
    return choose(wanted, capability)


def choose(wanted: Precision, capability: tuple[int, int] | None) -> Precision:
    """The precision for a wish on a device.

    Left open, it is what the device has tensor cores for: bfloat16 from compute capability 8.0
    (Ampere) on, float16 from 7.0 (Volta) on. Everything else computes in float32; CPUs without
    instructions for bfloat16 are several times slower with it.

    Args:
        wanted: AUTO leaves it open.
        capability: CUDA compute capability of the device, None for a CPU.

    Raises:
        FailedPreconditionError: float16 is wanted on a CPU.
    """
    if wanted == FLOAT16 and capability is None:
        raise FailedPreconditionError(
            "Training in float16 needs a CUDA GPU, and the worker has none. Leave the precision "
            "open, or take bfloat16 or float32."
        )
    if wanted != AUTO:
        return wanted
    if capability is None or capability < (7, 0):
        return FLOAT32
    return BFLOAT16 if capability >= (8, 0) else FLOAT16
