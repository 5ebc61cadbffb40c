"""What networks are trained on here, as the child sees it."""

import os
from typing import Any

import torch

import biosegment.training.child.run  # noqa: F401 - so that the first training finds it loaded
from biosegment.runtime.child import ChildContext


def describe(context: ChildContext) -> dict[str, Any]:  # noqa: ARG001 - every task gets one
    """The device that Lightning chooses, as the fields of a Device message."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if torch.cuda.is_available():
        return {
            "type": "cuda",
            "display_name": torch.cuda.get_device_name(0),
            "cores": cores or 1,
        }
    if torch.backends.mps.is_available():
        return {"type": "mps", "display_name": "Apple GPU", "cores": cores or 1}
    cores = min(cores or 1, torch.get_num_threads())
    name = "one processor core" if cores == 1 else f"{cores} processor cores"
    return {"type": "cpu", "display_name": name, "cores": cores}
