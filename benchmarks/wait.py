"""The wait between the last answer of a batch and the next proposals, in its parts.

Brings up a platform of its own on a phantom and lives through a campaign whose proposals are
answered at once. For each round it takes, from the record's times, what passed between the commit
of the last answer and the moment at which a client could claim the next patches. Beside it stands
what the networks alone need: the bare training steps and the bare forwards over the pool, in a
process of their own between the rounds. The last line is one JSON object.
"""

import argparse
import json
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import tifffile
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from biosegment.cli.up.platform import Options, Platform
from biosegment.client import Client
from biosegment.client.geometry import ZYX, Box, shape_proto
from biosegment.client.stubs import SyncStubs
from biosegment.phantom import generate
from biosegment.runtime import objects
from biosegment.v1 import campaigns_pb2, jobs_pb2

SHAPE: ZYX = (16, 512, 512)
VOXEL = (45.0, 9.2, 9.2)
CAMPAIGN, DATASET, MODEL = "wait", "em", "unet"
_LOOK_SECONDS, _DEADLINE_SECONDS = 0.01, 600.0
FORWARD_PIXELS = 1 << 20


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--rounds", type=int, default=4, help="waits to measure")
    made.add_argument("--pool", type=int, default=200, help="candidates of each round")
    made.add_argument("--steps", type=int, default=40, help="training steps of each round")
    made.add_argument("--patch", type=int, default=128, help="edge of patches, in pixels")
    made.add_argument("--crop", type=int, default=64, help="edge of training crops, in pixels")
    made.add_argument("--batch-size", type=int, default=8)
    made.add_argument(
        "--first-batch-seconds", type=float, default=20, help="what a person takes over it"
    )
    given = made.parse_args()
    phantom = generate(shape=SHAPE, voxel_size=VOXEL, seed=1)
    waits: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        tifffile.imwrite(home / "raw.tif", phantom.raw)
        tifffile.imwrite(home / "labels.tif", phantom.labels)
        options = Options(home=home / "home", import_roots=[home])
        with (
            Platform(options) as platform,
            Client(platform.connection) as client,
            # In a session of its own, as the service's children are: the kernel shares the
            # processor out among sessions first.
            ProcessPoolExecutor(1, get_context("spawn"), os.setsid) as process,
        ):
            _start(client, home, given)
            time.sleep(given.first_batch_seconds)
            for index in range(1, given.rounds + 1):
                parts = _round(client, phantom.labels, index)
                # By turns, so that what else runs on the machine slows both alike.
                _until_measured(client, index)
                what = _bare(_weights(platform, client, index), phantom.raw, given)
                if index == 1:
                    process.submit(_train, what).result()
                parts["bare_training"] = process.submit(_train, what).result()
                parts["bare_scoring"] = process.submit(_score, what).result()
                parts["ratio"] = parts["wait"] / (parts["bare_training"] + parts["bare_scoring"])
                told = ", ".join(f"{name} {value:.2f}" for name, value in parts.items())
                print(f"round {index}: {told}", flush=True)
                waits.append(parts)
    later = waits[1:] or waits
    result = {
        **vars(given),
        "first_wait": round(waits[0]["wait"], 3),
        "first_ratio": round(waits[0]["ratio"], 3),
        "median_of_later": {
            name: round(median(wait[name] for wait in later), 3) for name in later[0]
        },
        "ratio": round(median(wait["ratio"] for wait in later), 3),
    }
    print(json.dumps(result))


def _start(client: Client, home: Path, given: argparse.Namespace) -> None:
    client.put_label_class(1, "mitochondria")
    client.wait(client.import_volume(home / "raw.tif", dataset=DATASET, voxel_size=VOXEL))
    truth = client.wait(client.import_labels(home / "labels.tif", dataset=DATASET))
    client.create_model(MODEL, classes=[0, 1], architecture="unet2d-quarter")
    half = SHAPE[1] // 2
    training = jobs_pb2.TrainingSettings(
        steps=given.steps,
        batch_size=given.batch_size,
        patch=shape_proto((1, given.crop, given.crop)),
    )
    client.start_campaign(
        CAMPAIGN,
        dataset=DATASET,
        model=MODEL,
        patch=(1, given.patch, given.patch),
        initial_patches=4,
        batch_patches=4,
        pool_patches=given.pool,
        budget_patches=4 * (given.rounds + 2),
        region=Box((0, 0, 0), (SHAPE[0], half, SHAPE[2])),
        evaluate_on=(truth.result.import_result.volume, Box((0, half, 0), SHAPE)),
        skip_pretraining=True,
        initial_training=training,
        round_training=training,
        seed=1,
        automatic=True,
    )


def _round(client: Client, truth: NDArray[np.uint8], index: int) -> dict[str, float]:
    """Answers a round, waits for the next one's proposals, and says what the wait was made of."""
    for proposal in _proposals(client, index):
        box = Box.from_proto(proposal.box)
        mask = truth[box.slices]
        (commit,) = client.commit(
            DATASET, box, mask, proposal=proposal.name, claimant="expert", tool="benchmark"
        )
    _proposals(client, index + 1)
    claimable = time.time()
    done, ranked = client.rounds(CAMPAIGN)[index - 1 : index + 1]
    train, rank = client.job(done.train_job), client.job(ranked.rank_job)
    last = _seconds(commit.create_time)
    parts = {
        "wait": claimable - last,
        "noticing": _seconds(train.create_time) - last,
        "training_start": _seconds(train.start_time) - _seconds(train.create_time),
        "training": _seconds(train.end_time) - _seconds(train.start_time),
        "opening": _seconds(rank.create_time) - _seconds(train.end_time),
        "ranking_start": _seconds(rank.start_time) - _seconds(rank.create_time),
        "ranking": _seconds(rank.end_time) - _seconds(rank.start_time),
        "telling": claimable - _seconds(rank.end_time),
    }
    within = rank.result.rank_result.seconds
    parts |= {f"ranking_{name}": within[name] for name in sorted(within)}
    parts["evaluation_before"] = 0.0
    if done.evaluate_job:
        evaluate = client.job(done.evaluate_job)
        if evaluate.HasField("end_time") and _seconds(evaluate.end_time) < claimable:
            parts["evaluation_before"] = _seconds(evaluate.end_time) - _seconds(
                evaluate.create_time
            )
    parts["training_itself"] = train.result.train_result.metrics["seconds"]
    return parts


def _until_measured(client: Client, index: int) -> None:
    """Waits until the version of a round is measured, so that the platform rests."""
    end = time.monotonic() + _DEADLINE_SECONDS
    while "iou" not in client.rounds(CAMPAIGN)[index - 1].metrics:
        if time.monotonic() > end:
            raise TimeoutError(f"round {index} is not measured")
        time.sleep(0.2)


def _proposals(client: Client, index: int) -> list[campaigns_pb2.Proposal]:
    """The proposals of a round, claimed as soon as there are any."""
    end = time.monotonic() + _DEADLINE_SECONDS
    while time.monotonic() < end:
        if claimed := client.claim(CAMPAIGN, "expert", count=100):
            assert all(proposal.round.endswith(f"/{index}") for proposal in claimed)
            return claimed
        time.sleep(_LOOK_SECONDS)
    raise TimeoutError(f"round {index} has no proposals")


def _seconds(time_: Timestamp) -> float:
    return time_.seconds + time_.nanos * 1e-9


def _weights(platform: Platform, client: Client, index: int) -> bytes:
    with SyncStubs(platform.connection) as stubs:
        version = client.rounds(CAMPAIGN)[index - 1].version
        return objects.read(stubs, client.version(version).weights)


@dataclass(frozen=True, slots=True)
class _Bare:
    """What the bare network works on.

    Attributes:
        weights: The network.
        crops: Raw voxels on the unit scale, float32, (steps, batch, y, x).
        patches: Raw voxels of the pool, (patches, z, y, x).
    """

    weights: bytes
    crops: NDArray[np.float32]
    patches: NDArray[np.uint8]


def _bare(weights: bytes, raw: NDArray[np.uint8], given: argparse.Namespace) -> _Bare:
    """What one round's training and scoring see, about."""
    rng = np.random.default_rng(0)

    def cut(count: int, edge: int) -> NDArray[np.uint8]:
        rooms = [SHAPE[0], SHAPE[1] - edge + 1, SHAPE[2] - edge + 1]
        places = rng.integers(0, rooms, (count, 3)).tolist()
        return np.stack([raw[z, y : y + edge, x : x + edge] for z, y, x in places])

    crops = cut(given.steps * given.batch_size, given.crop).astype(np.float32) / np.float32(255)
    shape = (given.steps, given.batch_size, given.crop, given.crop)
    return _Bare(weights, crops.reshape(shape), cut(given.pool, given.patch)[:, None])


def _train(what: _Bare) -> float:
    import biosegment.training.child  # noqa: F401, I001 - settles how torch's threads wait
    import torch

    from biosegment.nets import weights
    from biosegment.nets.losses import segmentation_loss
    from biosegment.nets.network import channels_last

    network = channels_last(weights.load(what.weights).module.train())
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    # Crops of one section, (batch, z, y, x), as networks take them.
    inputs = [torch.from_numpy(crops).unsqueeze(1) for crops in what.crops]
    targets = [(crops > 0.5).long() for crops in inputs]
    began = time.perf_counter()
    for crops, labels in zip(inputs, targets, strict=True):
        segmentation_loss(network(crops), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - began


def _score(what: _Bare) -> float:
    import torch

    from biosegment.inference.child.predict import Predictor
    from biosegment.nets import weights

    found = weights.load(what.weights)
    predictor = Predictor(found.module, found.classes, FORWARD_PIXELS)
    at_once = max(1, FORWARD_PIXELS // what.patches[0].size)
    batches = torch.split(predictor.tensor(what.patches), at_once)
    began = time.perf_counter()
    with torch.inference_mode():
        for batch in batches:
            predictor.module(batch)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
