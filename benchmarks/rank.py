"""What ranking costs beside the network itself, and choosing among many embeddings.

Brings up a platform of its own on a phantom, scores a pool of patches through ScorePatches as a
rank job does, and in turns with it runs the bare network forward over the same patches in this
process: the turns are short, so that a noisy machine slows both alike. The last line is one JSON
object.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray

from biosegment.acquisition.strategies.base import Candidates
from biosegment.acquisition.strategies.table import find
from biosegment.cli.up.platform import Options, Platform
from biosegment.client import Client
from biosegment.client.geometry import Box
from biosegment.client.stubs import SyncStubs
from biosegment.nets import weights
from biosegment.nets.intensity import unit_scale
from biosegment.nets.unet import channels_last
from biosegment.phantom import generate
from biosegment.runtime import objects
from biosegment.v1 import inference_pb2, jobs_pb2, registry_pb2

SHAPE, PATCH = (16, 512, 512), (1, 128, 128)
FORWARD_PIXELS = 1 << 20
FEATURES = 256


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--patches", type=int, default=2000, help="patches in the pool")
    arguments.add_argument("--turn", type=int, default=250, help="patches in one turn of either")
    arguments.add_argument("--embeddings", type=int, default=100_000, help="rows to choose from")
    arguments.add_argument("--quick", action="store_true", help="200 patches and 10 000 rows")
    given = arguments.parse_args()
    if given.quick:
        given.patches, given.turn, given.embeddings = 200, 100, 10_000
    result = {
        "threads": torch.get_num_threads(),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        **scoring(given.patches, given.turn),
        "embeddings": given.embeddings,
        **choosing(given.embeddings),
    }
    print(json.dumps(result))


def scoring(patches: int, turn: int) -> dict[str, Any]:
    """Seconds of both paths over the pool, and their ratio."""
    phantom = generate(shape=SHAPE, voxel_size=(45.0, 9.2, 9.2), seed=1)
    rng = np.random.default_rng(0)
    rooms = [n - p + 1 for n, p in zip(SHAPE, PATCH, strict=True)]
    boxes = [Box.at(tuple(map(int, at)), PATCH) for at in rng.integers(0, rooms, (patches, 3))]
    with tempfile.TemporaryDirectory() as folder:
        tifffile.imwrite(Path(folder) / "raw.tif", phantom.raw)
        options = Options(home=Path(folder) / "home", import_roots=[Path(folder)])
        with Platform(options) as platform, Client(platform.connection) as client:
            version = _version(client, Path(folder) / "raw.tif", phantom.labels)
            with SyncStubs(platform.connection) as stubs:
                return _in_turns(stubs, version, boxes, turn, phantom.raw)


def _version(client: Client, raw: Path, labels: NDArray[np.uint8]) -> str:
    client.put_label_class(1, "mitochondria")
    client.wait(client.import_volume(raw, dataset="em", voxel_size=(45.0, 9.2, 9.2)))
    client.create_model("unet", classes=[0, 1], architecture="unet2d-quarter")
    box = Box((0, 0, 0), (1, 128, 128))
    client.commit("em", box, labels[box.slices], tool="benchmark")
    settings = jobs_pb2.TrainingSettings(steps=2, batch_size=1)
    settings.patch.z, settings.patch.y, settings.patch.x = 1, 64, 64
    return client.wait(client.train("unet", "em", settings=settings)).result.train_result.version


def _in_turns(
    stubs: SyncStubs, version: str, boxes: list[Box], turn: int, raw: NDArray[np.uint8]
) -> dict[str, Any]:
    record = stubs.registry.GetModelVersion(
        registry_pb2.GetModelVersionRequest(name=version)
    ).version
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded = weights.load(objects.read(stubs, record.weights))
    network = channels_last(loaded.module.eval().to(device))
    at_once = max(1, FORWARD_PIXELS // (PATCH[1] * PATCH[2]))

    def ranked(part: list[Box]) -> float:
        request = inference_pb2.ScorePatchesRequest(
            version=version,
            dataset="projects/default/datasets/em",
            boxes=[box.to_proto() for box in part],
        )
        begin = time.perf_counter()
        found = sum(len(answer.scores) for answer in stubs.inference.ScorePatches(request))
        assert found == len(part)
        return time.perf_counter() - begin

    def bare(part: list[Box]) -> float:
        sections = unit_scale(np.concatenate([raw[box.slices] for box in part]))
        batches = [
            batch.unsqueeze(1).to(device).contiguous(memory_format=torch.channels_last)
            for batch in torch.from_numpy(sections).split(at_once)
        ]
        begin = time.perf_counter()
        with torch.inference_mode():
            for batch in batches:
                network(batch)
            if device.type == "cuda":
                torch.cuda.synchronize()
        return time.perf_counter() - begin

    # Loads the network and warms both sides.
    for way in (ranked, bare):
        way(boxes[:at_once])
    times = []
    for number, start in enumerate(range(0, len(boxes), turn)):
        part = boxes[start : start + turn]
        # Each goes first as often as the other.
        if number % 2:
            second = ranked(part)
            times.append((bare(part), second))
        else:
            times.append((bare(part), ranked(part)))
        print(f"turn {number + 1}: bare {times[-1][0]:.2f} s, ranked {times[-1][1]:.2f} s")
    both = np.array(times)
    return {
        "patches": len(boxes),
        "bare_seconds": round(float(both[:, 0].sum()), 3),
        "ranked_seconds": round(float(both[:, 1].sum()), 3),
        "ratio": round(float(both[:, 1].sum() / both[:, 0].sum()), 3),
        "ratio_median_of_turns": round(float(np.median(both[:, 1] / both[:, 0])), 3),
    }


def choosing(count: int) -> dict[str, float]:
    """Seconds in which 20 are chosen, with 500 labelled already."""
    rng = np.random.default_rng(0)
    # Something like the network's: not negative, in clumps.
    middles = rng.gamma(1.0, 1.0, (50, FEATURES))
    rows = middles[rng.integers(0, 50, count + 500)] * rng.gamma(4.0, 0.25, (count + 500, 1))
    rows = (rows + rng.gamma(1.0, 0.2, rows.shape)).astype(np.float32)
    side = int(np.ceil(np.sqrt(count + 500)))
    boxes = [Box.at((0, 128 * (n // side), 128 * (n % side)), PATCH) for n in range(count + 500)]
    candidates = Candidates(
        boxes=boxes[:count],
        embeddings=rows[:count],
        labelled=boxes[count:],
        labelled_embeddings=rows[count:],
        statistics={"entropy": rng.random(count)},
    )
    seconds = {}
    for name in ("core_set", "k_means", "hybrid", "typicality"):
        begin = time.perf_counter()
        chosen = find(name)().select(candidates, 20, np.random.default_rng(1))
        seconds[f"{name}_seconds"] = round(time.perf_counter() - begin, 3)
        assert len(chosen) == 20
        print(f"{name}: {seconds[f'{name}_seconds']} s")
    return seconds


if __name__ == "__main__":
    main()
