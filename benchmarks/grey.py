"""IoU of one model version on one picture, stored in many ways.

Brings up a platform of its own, trains a quarter-width network on every second section of the
picture as 8 bit, and evaluates it on all but the first section of the picture stored otherwise:
the first 20 sections of 256 × 256 of VNC where DATA_ROOT names a folder with vnc/ in it, else a
phantom. The last line is one JSON object: IoU by way, the largest difference to 8 bit, and what was
told.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from biosegment.cli.up.platform import Options, Platform
from biosegment.client import Client
from biosegment.client.geometry import Box
from biosegment.phantom import generate
from biosegment.v1 import jobs_pb2

Volume = NDArray[Any]
SHAPE = (20, 256, 256)
VOXEL = (50.0, 18.4, 18.4)


def padded(volume: Volume, value: int = 0) -> Volume:
    """The picture in the middle of three times as much padding."""
    depth, height, width = volume.shape
    made = np.full((depth, 2 * height, 2 * width), value, volume.dtype)
    place = (slice(height // 2, height // 2 + height), slice(width // 2, width // 2 + width))
    made[(slice(None), *place)] = volume
    return made


WAYS: dict[str, Callable[[Volume], Volume]] = {
    "uint8": lambda raw: raw,
    "times-16": lambda raw: raw.astype(np.uint16) * 16,
    "times-257": lambda raw: raw.astype(np.uint16) * 257,
    "times-0.6": lambda raw: (raw * 0.6).astype(np.uint8),
    "half-plus-64": lambda raw: (raw * 0.5 + 64).astype(np.uint8),
    "float": lambda raw: (raw / 255).astype(np.float32),
    "int16": lambda raw: raw.astype(np.int16) * 100 - 9000,
    "padded": padded,
    "white-is-zero": lambda raw: 255 - raw,
    "times-0.3": lambda raw: (raw * 0.3).astype(np.uint8),
    "padded-white": lambda raw: padded(raw, 255),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--steps", type=int, default=200, help="training steps")
    arguments.add_argument("--sections", type=int, default=SHAPE[0], help="of the picture")
    given = arguments.parse_args()
    raw, truth = picture(given.sections)
    with tempfile.TemporaryDirectory(prefix="biosegment-bench-grey-") as name:
        folder = Path(name)
        options = Options(home=folder / "home", import_roots=[folder])
        with Platform(options) as platform, Client(platform.connection) as client:
            version = trained(client, folder, raw, truth, given.steps)
            ious, told = {}, {}
            for way, store in WAYS.items():
                ious[way], told[way] = measured(client, folder, way, store, version, raw, truth)
                print(f"{way:14} {ious[way]:.4f} {' '.join(told[way])}", flush=True)
    worst = max(abs(iou - ious["uint8"]) for iou in ious.values())
    print(json.dumps({"iou": ious, "largest_difference": worst, "told": told}))


def picture(sections: int) -> tuple[Volume, Volume]:
    """Raw voxels and the mitochondria in them, uint8, axes ZYX."""
    root = os.environ.get("DATA_ROOT")
    if not root:
        made = generate(shape=(sections, *SHAPE[1:]), voxel_size=(45.0, 9.2, 9.2), seed=1)
        return made.raw, made.labels
    place = (slice(sections), slice(SHAPE[1]), slice(SHAPE[2]))
    raw, truth = (tifffile.imread(Path(root) / "vnc" / f"{n}.tif")[place] for n in ("raw", "mito"))
    return raw, (truth > 0).astype(np.uint8)


def trained(client: Client, folder: Path, raw: Volume, truth: Volume, steps: int) -> str:
    """Trains on every second section; the name of the version."""
    client.put_label_class(1, "mitochondria")
    client.create_model("unet", classes=[0, 1], architecture="unet2d-quarter")
    imported(client, folder, "learnt", raw)
    for z in range(0, len(raw), 2):
        box = Box((z, 0, 0), (z + 1, *raw.shape[1:]))
        client.commit("learnt", box, truth[box.slices], tool="benchmark")
    settings = jobs_pb2.TrainingSettings(steps=steps, batch_size=4, seed=1)
    job = client.wait(client.train("unet", "learnt", settings=settings))
    return job.result.train_result.version


def imported(client: Client, folder: Path, name: str, raw: Volume) -> None:
    """Makes a data set of an array; what was inverted is said to be so by the file's tag."""
    inverted = name == "white-is-zero"
    photometric = "miniswhite" if inverted else "minisblack"
    tifffile.imwrite(folder / f"{name}.tif", raw, photometric=photometric)
    client.wait(client.import_volume(folder / f"{name}.tif", dataset=name, voxel_size=VOXEL))


def measured(
    client: Client,
    folder: Path,
    way: str,
    store: Callable[[Volume], Volume],
    version: str,
    raw: Volume,
    truth: Volume,
) -> tuple[float, list[str]]:
    """IoU on the picture as it is stored, and what is told of it."""
    name = way.replace(".", "-")
    imported(client, folder, name, store(raw))
    labels = padded(truth) if way.startswith("padded") else truth
    tifffile.imwrite(folder / f"{name}-truth.tif", labels, photometric="minisblack")
    made = client.wait(client.import_labels(folder / f"{name}-truth.tif", dataset=name))
    box = Box((1, 0, 0), labels.shape)
    job = client.wait(client.evaluate(version, name, made.result.import_result.volume, box=box))
    return job.result.evaluate_result.metrics["iou"], list(job.warnings)


if __name__ == "__main__":
    main()
