"""Whole-volume segmentation: beside the bare network and a sliding window, in memory, in blocks.

Each part but ``tiles`` brings up a platform of its own and measures jobs of the running services.
``speed`` trains a network, then has the same voxels segmented by a job and by the bare forward in
turns, and by MONAI's sliding window. ``tiles`` measures what the halo of a tile costs. ``memory``
watches every process while volumes of two sizes are segmented, of which the larger one is never
stored. ``blocks`` measures what a block costs when there is nothing to read, to compute and to
write, in a job of a million. The last line is one JSON object.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from benchmarks.segment import blocks, memory, speed, tiles

PARTS = {
    "speed": speed.measure,
    "tiles": tiles.measure,
    "memory": memory.measure,
    "blocks": blocks.measure,
}


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ["DATA_ROOT"]) / "vnc" if os.environ.get("DATA_ROOT") else None,
        help="folder with raw.tif and mito.tif; DATA_ROOT/vnc if DATA_ROOT is set, else a phantom",
    )
    made.add_argument("--parts", default=",".join(PARTS), help="which parts, separated by commas")
    made.add_argument("--turns", type=int, default=3, help="times that job and bare take turns")
    made.add_argument(
        "--sections",
        type=int,
        default=20,
        help="how many of the data, from its first on again where it has fewer (speed)",
    )
    made.add_argument("--steps", type=int, default=200, help="training steps of the network")
    made.add_argument(
        "--precision", default="float32", help="what networks compute with; BIOSEGMENT_PRECISION"
    )
    made.add_argument("--quick", action="store_true", help="a short run; the figures mean little")
    given = made.parse_args()
    chosen = [name.strip() for name in given.parts.split(",") if name.strip()]
    if unknown := sorted(set(chosen) - set(PARTS)):
        made.error(f"there is no part {unknown[0]}; choose among {', '.join(PARTS)}")
    if given.quick:
        given.turns, given.steps, given.sections = 1, 20, 4
    # For the services, and for the processes of the bare network.
    os.environ["BIOSEGMENT_PRECISION"] = given.precision
    result: dict[str, Any] = {"quick": given.quick, "precision": given.precision}
    for name in chosen:
        print(f"# {name}", flush=True)
        result |= PARTS[name](given)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
