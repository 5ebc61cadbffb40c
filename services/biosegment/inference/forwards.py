"""How networks are run: how much at a time, by what, how exactly. Free of torch."""

from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec

from biosegment.nets.footprint import Footprint


class CpuEngine(StrEnum):
    """What runs a network where there is no GPU."""

    AUTO = "auto"
    TORCH = "torch"
    OPENVINO = "openvino"


class Precision(StrEnum):
    """What networks compute with; weights and sums are float32 in any case."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def openvino_is_installed() -> bool:
    """Whether this environment has OpenVINO; it is not imported."""
    return find_spec("openvino") is not None


@dataclass(frozen=True, slots=True)
class Forwards:
    """How networks are run.

    Attributes:
        pixels: In one forward of sections; see ``Footprint.forward_voxels``.
        engine: On a CPU.
        precision: Of predictions.
    """

    pixels: int = 1 << 20
    engine: CpuEngine = CpuEngine.TORCH
    precision: Precision = Precision.FLOAT32

    def by_openvino(self, footprint: Footprint) -> bool:
        """Whether OpenVINO runs a network on a CPU.

        Left to choose, it does where it was measured to be the faster one: for networks that work
        in tiles. It folds their batch normalisation into the convolutions; group normalisation is
        slower with it than with torch.
        """
        if self.engine is CpuEngine.AUTO:
            return footprint.local and openvino_is_installed()
        return self.engine is CpuEngine.OPENVINO
