"""The same network without a platform: bare forwards, and MONAI's sliding window.

Runs in a process in a session of its own, as the service's child does: the kernel shares the
processor out among sessions first. The child's package is imported before torch, so that threads
and memory are set up as in the child.
"""

import importlib
import time
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.geometry import ZYX

FORWARD_PIXELS = 1 << 20
# Of what one axis pair shows the network; many small sections at a time, or one large one.
CANDIDATES: tuple[ZYX, ...] = (
    (8, 128, 128),
    (1, 256, 256),
    (4, 256, 256),
    (1, 512, 512),
    (4, 512, 512),
    (1, 1024, 1024),
)
ROI, WINDOWS_AT_ONCE, OVERLAP = 256, 4, 0.5
_loaded: list[Any] = []


def load(data: bytes) -> int:
    """Loads a network as the child does; the number of threads that torch works with."""
    importlib.import_module("biosegment.inference.child")
    import torch

    from biosegment.inference.child.predict import Predictor
    from biosegment.nets import weights

    found = weights.load(data)
    _loaded[:] = [Predictor(found.module, found.classes, FORWARD_PIXELS)]
    return torch.get_num_threads()


def forwards(raw: NDArray[np.uint8], tile: ZYX, voxels: int) -> float:
    """Voxels per second of bare forwards, inputs in place.

    Args:
        raw: Where tiles are cut from, ZYX.
        tile: Extent of one forward.
        voxels: How many to show, at least.
    """
    import torch

    predictor = _loaded[0]
    count = max(1, -(-voxels // prod(tile)))
    z, y, x = (min(t, n) for t, n in zip(tile, raw.shape, strict=True))
    inputs = predictor.tensor(np.ascontiguousarray(raw[:z, :y, :x])[np.newaxis])
    with torch.inference_mode():
        predictor.module(inputs)
        begin = time.perf_counter()
        for _ in range(count):
            predictor.module(inputs)
        if predictor.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begin
    return float(count * z * y * x / seconds)


def best_tile(raw: NDArray[np.uint8], voxels: int) -> tuple[ZYX, dict[str, float]]:
    """The fastest extent of a forward, and the voxels per second of each."""
    fitting = [t for t in CANDIDATES if all(a <= b for a, b in zip(t, raw.shape, strict=True))]
    rates = {tile: forwards(raw, tile, voxels) for tile in fitting}
    best = max(rates, key=lambda tile: rates[tile])
    return best, {" × ".join(map(str, tile)): round(rate) for tile, rate in rates.items()}


def sliding_window(raw: NDArray[np.uint8]) -> tuple[float, NDArray[np.uint8]]:
    """Seconds of MONAI's inferer over sections in memory, and the class values it finds."""
    import torch
    from monai.inferers import SlidingWindowInferer

    from biosegment.nets.channels import value_table

    predictor = _loaded[0]
    inferer = SlidingWindowInferer(
        roi_size=(ROI, ROI), sw_batch_size=WINDOWS_AT_ONCE, overlap=OVERLAP, mode="gaussian"
    )

    def network(windows: torch.Tensor) -> torch.Tensor:
        # Single sections, so the axis of z holds one.
        made: torch.Tensor = predictor.module(windows)[:, :, 0]
        return made

    values = torch.from_numpy(value_table(predictor.classes))
    begin = time.perf_counter()
    found = np.empty(raw.shape, np.uint8)
    with torch.inference_mode():
        for z, section in enumerate(raw):
            logits = inferer(predictor.tensor(section[np.newaxis, np.newaxis]), network)
            found[z] = values[logits[0].argmax(dim=0).cpu()].numpy()
    return time.perf_counter() - begin, found
