"""What ranking costs beside the network itself, and choosing among many embeddings.

Brings up a platform of its own on a phantom and has a pool of patches scored in three ways, in
short turns so that a noisy machine slows all alike: the bare network forward, the library's scoring
in the same process, and ScorePatches of the running service as a rank job calls it. The last line
is one JSON object.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
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
from biosegment.inference.child.predict import Predictor, default_device
from biosegment.inference.child.region import score_boxes
from biosegment.inference.forwards import CpuEngine, Forwards
from biosegment.nets import weights
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
        "device": default_device().type,
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
    places = rng.integers(0, rooms, (patches, 3)).tolist()
    boxes = [Box.at((z, y, x), PATCH) for z, y, x in places]
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

    # A process in a session of its own, as the service's are: the kernel shares the processor out
    # among sessions first, so in this one the network would run at another speed.
    with ProcessPoolExecutor(1, get_context("spawn"), os.setsid) as process:
        process.submit(_load, objects.read(stubs, record.weights)).result()

        def here(way: Callable[..., float]) -> Callable[[list[Box]], float]:
            return lambda part: process.submit(way, [raw[box.slices] for box in part]).result()

        ways = {"bare": here(_bare), "library": here(_library), "service": ranked}
        for way in ways.values():
            # Loads the network and warms it.
            way(boxes[:at_once])
        times: dict[str, list[float]] = {name: [] for name in ways}
        for number, start in enumerate(range(0, len(boxes), turn)):
            part = boxes[start : start + turn]
            names = list(ways)
            # Each goes first, in the middle and last as often as the others.
            for name in (*names[number % 3 :], *names[: number % 3]):
                times[name].append(ways[name](part))
            print(", ".join(f"{name} {took[-1]:.2f} s" for name, took in times.items()))
    bare = np.array(times["bare"])
    return {
        "patches": len(boxes),
        **{f"{name}_seconds": round(sum(took), 3) for name, took in times.items()},
        # The library's path in the process that runs the bare network, and the running service.
        **{
            f"{name}_ratio": round(float(np.sum(times[name]) / bare.sum()), 3)
            for name in ("library", "service")
        },
        **{
            f"{name}_ratio_median_of_turns": round(float(np.median(times[name] / bare)), 3)
            for name in ("library", "service")
        },
    }


_loaded: list[Predictor] = []


def _load(data: bytes) -> None:
    found = weights.load(data)
    # By the engine that the service chooses where nothing is said.
    by_openvino = Forwards(engine=CpuEngine.AUTO).by_openvino(found.module.footprint)
    _loaded.append(Predictor(found.module, found.classes, FORWARD_PIXELS, by_openvino=by_openvino))


def _bare(patches: list[NDArray[np.uint8]]) -> float:
    """Seconds of the forwards alone, their inputs being in place."""
    predictor = _loaded[0]
    at_once = max(1, FORWARD_PIXELS // (PATCH[1] * PATCH[2]))
    batches = torch.split(predictor.tensor(np.stack(patches)), at_once)
    begin = time.perf_counter()
    with torch.inference_mode():
        for batch in batches:
            predictor.logits(batch)
        if predictor.device.type == "cuda":
            torch.cuda.synchronize()
    return time.perf_counter() - begin


def _library(patches: list[NDArray[np.uint8]]) -> float:
    """Seconds of scoring: inputs, forwards, statistics, answers."""
    boxes = [Box.at((number, 0, 0), PATCH) for number in range(len(patches))]
    begin = time.perf_counter()
    found = score_boxes(
        _loaded[0], lambda box: patches[box.start[0]], boxes, shape=(len(boxes), *SHAPE[1:])
    )
    assert np.isfinite(found.statistics).all()
    return time.perf_counter() - begin


def choosing(count: int) -> dict[str, float]:
    """Seconds in which 20 are chosen, with 500 labelled already."""
    rng = np.random.default_rng(0)
    # Something like the network's: not negative, in clumps.
    middles = rng.gamma(1.0, 1.0, (50, FEATURES))
    rows = middles[rng.integers(0, 50, count + 500)] * rng.gamma(4.0, 0.25, (count + 500, 1))
    embeddings: NDArray[np.float32] = (rows + rng.gamma(1.0, 0.2, rows.shape)).astype(np.float32)
    side = int(np.ceil(np.sqrt(count + 500)))
    boxes = [Box.at((0, 128 * (n // side), 128 * (n % side)), PATCH) for n in range(count + 500)]
    candidates = Candidates(
        boxes=boxes[:count],
        embeddings=embeddings[:count],
        labelled=boxes[count:],
        labelled_embeddings=embeddings[count:],
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
