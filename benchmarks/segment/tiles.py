"""What the halo costs: tiles inside a volume that no forward takes whole, beside bare forwards.

No platform: the network alone, as the child runs it, in a process of its own. The bare forward
shows the same tile and keeps all of it; ``whole`` predicts all of it and keeps the core, as tiles
would without windows.
"""

import argparse
import importlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from math import prod
from multiprocessing import get_context
from statistics import median
from typing import Any

from biosegment.client.geometry import ZYX, Box

# By what the figures are called: the network, and a volume much larger than a forward.
_NETWORKS: dict[str, tuple[str, ZYX]] = {
    "sections": ("unet2d-quarter", (3, 4096, 4096)),
    "volumes": ("unet3d-quarter", (1000, 4096, 4096)),
}
_FORWARDS = 3


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Runs the part; the figures."""
    figures: dict[str, Any] = {}
    for kind, (architecture, shape) in _NETWORKS.items():
        with ProcessPoolExecutor(1, get_context("spawn"), os.setsid) as process:
            found = process.submit(_measure, architecture, shape, given.turns).result()
        print(kind, found, flush=True)
        figures |= {f"{key}_{kind}": value for key, value in found.items()}
    return figures


def _measure(architecture: str, shape: ZYX, turns: int) -> dict[str, Any]:
    # Before torch, so that threads and memory are set up as in the child.
    importlib.import_module("biosegment.inference.child")
    import torch

    from biosegment.inference.child import tiles
    from biosegment.inference.child.predict import Predictor
    from biosegment.inference.forwards import CpuEngine, Forwards, Precision
    from biosegment.nets import architectures, catalog

    network = architectures.build(architecture, catalog.resolve(architecture, {}), 2)
    footprint, forwards = network.footprint, Forwards(engine=CpuEngine.AUTO)
    voxels = footprint.forward_voxels(forwards.pixels)
    predictor = Predictor(
        network,
        (0, 1),
        voxels,
        by_openvino=forwards.by_openvino(footprint),
        precision=Precision(os.environ.get("BIOSEGMENT_PRECISION", Precision.FLOAT32)),
    )
    # A block in the middle of the volume, so that every face has a halo.
    block = (1, 768, 768) if footprint.sectionwise else (64, 768, 768)
    z, y, x = ((n - size) // 2 // 16 * 16 for n, size in zip(shape, block, strict=True))
    box = Box.at((z, y, x), block)
    found = list(tiles.tiles(box, shape=shape, footprint=footprint, forward_pixels=voxels))
    tile = found[len(found) // 2]
    extent, core = [span.size for span in tile.axes], [span.core for span in tile.axes]
    kept = prod(part.stop - part.start for part in core)
    shown = torch.rand(1, *extent).to(predictor.device)

    def seconds(forward: Callable[[], Any]) -> float:
        begun = time.perf_counter()
        for _ in range(_FORWARDS):
            forward()
        if predictor.device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - begun) / _FORWARDS

    with torch.inference_mode():
        bares, parts = [], []
        # The first turn is for the compiler.
        for _ in range(1 + turns):
            bares.append(seconds(lambda: predictor.logits(shown)))
            parts.append(seconds(lambda: predictor.logits(shown, core)))
    bare = prod(extent) / median(bares[1:])
    return {
        "tile": extent,
        "tile_core": [part.stop - part.start for part in core],
        "tile_voxels_per_second": round(kept / median(parts[1:])),
        "tile_over_bare": round(kept / median(parts[1:]) / bare, 3),
        "tile_over_bare_whole": round(kept / prod(extent), 3),
    }
