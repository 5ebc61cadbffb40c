"""Networks compiled for the CPU by OpenVINO.

Compiled once, for inputs of any extent: what is traced are the network's operations on a small
input, and their sizes are left open. https://docs.openvino.ai, "Convert from PyTorch".
"""

import sys
import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor

from biosegment.inference.forwards import Precision
from biosegment.nets.network import Network

_TRACED = (8, 64, 64)
_HINTS = {Precision.FLOAT32: "f32", Precision.BFLOAT16: "bf16"}


@cache
def _openvino() -> Any:
    # Without being asked it would report each conversion to its makers, and keep files about it in
    # the home folder. It does without the package that does so where that is not to be had.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


class CompiledNetwork:
    """The plain forward of a network, in eval mode and on the CPU.

    It holds a copy of the weights: what is done to the network later on changes nothing here.
    """

    def __init__(self, network: Network, *, parts: bool, precision: Precision) -> None:
        """Compiles a network.

        Args:
            network: The network.
            parts: Whether parts are to be predicted of what it is shown, and windows given. One
                that can do both would be the slower for it where all is wanted.
            precision: What it computes with; float32 where the processor has nothing else.
        """
        openvino = _openvino()
        footprint = network.footprint
        z, y, x = footprint.padded(_TRACED)
        example: tuple[Tensor, ...] = (torch.zeros((1, z + 2 * footprint.neighbours, y, x)),)
        if parts:
            extent = (z, y, x)[-network.dense_axes :]
            example += (network.windows(extent, [slice(0, size) for size in extent]),)
        # What is traced under inference mode cannot be read back.
        with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
            # That tracing is an old way, and that the check of extents is not traced.
            warnings.simplefilter("ignore")
            trace: Any = torch.jit.trace
            traced = trace(network, example, check_trace=False)
            model = openvino.convert_model(traced)
        self._compiled = openvino.Core().compile_model(
            model,
            "CPU",
            {
                # Left open, it takes bfloat16 where the processor has it.
                "INFERENCE_PRECISION_HINT": _HINTS[precision],
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                # Other processes want the same cores.
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._request = self._compiled.create_infer_request()

    def __call__(self, x: Tensor, *windows: Tensor) -> Tensor:
        """Class logits, as of ``Network.forward``.

        Raises:
            RuntimeError: There is too little memory, or an extent does not fit the network.
        """
        given = [part.contiguous().numpy() for part in (x, *windows)]
        made = self._request.infer(given, share_inputs=True)
        return torch.from_numpy(made[0])

    def give_back(self) -> None:
        """Frees the memory of feature maps until the next forward."""
        self._compiled.release_memory()
