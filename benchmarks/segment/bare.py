"""The same network without a platform: bare forwards, and MONAI's sliding window.

By torch, or by the engine that the service chooses where nothing is said.

Runs in a process in a session of its own, as the service's child does: the kernel shares the
processor out among sessions first. The child's package is imported before torch, so that threads
and memory are set up as in the child.
"""

import importlib
import os
import time
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.geometry import ZYX

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
# By whether it is torch's.
_loaded: dict[bool, Any] = {}


def load(data: bytes) -> tuple[int, bool]:
    """Loads a network as the child does; torch's in float32, as its users have it.

    Returns:
        The number of threads that it works with, and whether OpenVINO runs it by default.
    """
    importlib.import_module("biosegment.inference.child")
    import torch

    from biosegment.inference.child.predict import Predictor
    from biosegment.inference.forwards import CpuEngine, Forwards, Precision
    from biosegment.nets import weights

    found = weights.load(data)
    precision = Precision(os.environ.get("BIOSEGMENT_PRECISION", Precision.FLOAT32))
    forwards = Forwards(engine=CpuEngine.AUTO)
    compiled = forwards.by_openvino(found.module.footprint)
    for torchs in (True, False):
        _loaded[torchs] = Predictor(
            found.module,
            found.classes,
            forwards.pixels,
            by_openvino=compiled and not torchs,
            precision=Precision.FLOAT32 if torchs else precision,
        )
    return torch.get_num_threads(), _loaded[False].by_openvino


def forwards(raw: NDArray[np.uint8], tile: ZYX, voxels: int, torchs: bool = False) -> float:
    """Voxels per second of bare forwards, inputs in place.

    Args:
        raw: Where tiles are cut from, ZYX.
        tile: Extent of one forward.
        voxels: How many to show, at least.
        torchs: Whether by torch.
    """
    import torch

    predictor = _loaded[torchs]
    count = max(1, -(-voxels // prod(tile)))
    z, y, x = (min(t, n) for t, n in zip(tile, raw.shape, strict=True))
    inputs = predictor.tensor(np.ascontiguousarray(raw[:z, :y, :x])[np.newaxis])
    with torch.inference_mode():
        predictor.logits(inputs)
        begin = time.perf_counter()
        for _ in range(count):
            predictor.logits(inputs)
        if predictor.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begin
    return float(count * z * y * x / seconds)


def best_tile(
    raw: NDArray[np.uint8], voxels: int, torchs: bool = False
) -> tuple[ZYX, dict[str, float]]:
    """The fastest extent of a forward, and the voxels per second of each."""
    fitting = [t for t in CANDIDATES if all(a <= b for a, b in zip(t, raw.shape, strict=True))]
    rates = {tile: forwards(raw, tile, voxels, torchs) for tile in fitting}
    best = max(rates, key=lambda tile: rates[tile])
    return best, {" × ".join(map(str, tile)): round(rate) for tile, rate in rates.items()}


def sliding_window(raw: NDArray[np.uint8], torchs: bool = True) -> tuple[float, NDArray[np.uint8]]:
    """Seconds of MONAI's inferer over sections in memory, and the class values it finds.

    Args:
        raw: The sections, ZYX.
        torchs: Whether its network is torch's, as MONAI's users have it.
    """
    import torch
    from monai.inferers import SlidingWindowInferer

    from biosegment.nets.channels import value_table

    predictor = _loaded[torchs]
    inferer = SlidingWindowInferer(
        roi_size=(ROI, ROI), sw_batch_size=WINDOWS_AT_ONCE, overlap=OVERLAP, mode="gaussian"
    )

    def network(windows: torch.Tensor) -> torch.Tensor:
        # Single sections, so the axis of z holds one.
        made: torch.Tensor = predictor.logits(windows)[:, :, 0]
        return made

    values = torch.from_numpy(value_table(predictor.classes))
    begin = time.perf_counter()
    found = np.empty(raw.shape, np.uint8)
    with torch.inference_mode():
        for z, section in enumerate(raw):
            logits = inferer(predictor.tensor(section[np.newaxis, np.newaxis]), network)
            found[z] = values[logits[0].argmax(dim=0).cpu()].numpy()
    return time.perf_counter() - begin, found


def labels(raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Class values of whole sections in memory, by torch in float32."""
    from biosegment.client.geometry import Box
    from biosegment.inference.child.predict import predict

    shape = (raw.shape[0], raw.shape[1], raw.shape[2])
    return predict(_loaded[True], raw, origin=(0, 0, 0), shape=shape, box=Box.of_shape(shape))
