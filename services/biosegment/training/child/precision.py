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
    if torch.cuda.is_available():
        return choose(wanted, torch.cuda.get_device_capability())
    return choose(wanted, None, cpu_bfloat16=torch.cpu._is_avx512_bf16_supported())


def choose(
    wanted: Precision, capability: tuple[int, int] | None, *, cpu_bfloat16: bool = False
) -> Precision:
    """The precision for a wish on a device.

    Left open, it is what the device has tensor cores for: bfloat16 from compute capability 8.0
    (Ampere) on, float16 from 7.0 (Volta) on. A CPU computes in bfloat16 where it has the
    instructions (``make bench-training`` gives the ratio), since it is several times slower
    without. Everything else computes in float32.

    Args:
        wanted: AUTO leaves it open.
        capability: CUDA compute capability of the device, None for a CPU.
        cpu_bfloat16: Whether the CPU has instructions for bfloat16.

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
    if capability is None:
        return BFLOAT16 if cpu_bfloat16 else FLOAT32
    if capability < (7, 0):
        return FLOAT32
    return BFLOAT16 if capability >= (8, 0) else FLOAT16
