"""The first campaign of somebody who has a volume, no labels, and a laptop.

Brings up a platform of its own, imports a volume, makes a model without naming a network, starts a
campaign with the defaults, and has a simulated expert answer each patch from the truth: at once, or
after so many seconds. Says when the first patches were there, how long after the tenth answer the
first model was, what each round took, the IoU of each round's version on the patches of the next
one before they were learnt from, and that of the last version on the whole volume. Wall and CPU
seconds, those of all processes of the platform. The last line is one JSON object.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import tifffile
from numpy.typing import NDArray

from biosegment.cli.up.platform import Options, Platform
from biosegment.client import Client
from biosegment.client.geometry import Box
from biosegment.phantom import generate
from biosegment.v1 import campaigns_pb2, jobs_pb2

PHANTOM = (16, 512, 512)
VOXEL = (45.0, 9.2, 9.2)
CAMPAIGN, DATASET, MODEL = "first", "em", "mito"
_LOOK_SECONDS, _DEADLINE_SECONDS = 0.1, 3600.0


def main() -> None:
    given = _parser().parse_args()
    raw, truth, voxel = _volume(given.data)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        tifffile.imwrite(home / "raw.tif", raw)
        tifffile.imwrite(home / "labels.tif", truth)
        options = Options(home=home / "home", import_roots=[home])
        with Platform(options) as platform, Client(platform.connection) as client:
            print(json.dumps(_live(client, home, truth, voxel, given)))


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument(
        "--data",
        type=Path,
        default=Path(root) / "vnc" if (root := os.environ.get("DATA_ROOT")) else None,
        help="folder with raw.tif and mito.tif; a phantom without one",
    )
    made.add_argument("--rounds", type=int, default=5, help="rounds to live through")
    made.add_argument("--batch", type=int, default=10, help="patches of each")
    made.add_argument("--seconds", type=float, default=0.0, help="what the expert takes a patch")
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--train-minutes", type=float, default=0.0, help="0 for the default")
    made.add_argument("--pool", type=int, default=0, help="candidates of a round; 0 likewise")
    return made


def _volume(
    data: Path | None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[float, float, float]]:
    if data is None:
        phantom = generate(shape=PHANTOM, voxel_size=VOXEL, seed=1)
        return phantom.raw, phantom.labels, VOXEL
    raw, labels = (tifffile.imread(data / name) for name in ("raw.tif", "mito.tif"))
    return raw, (labels > 0).astype(np.uint8), (50.0, 4.6, 4.6)


def _live(
    client: Client,
    home: Path,
    truth: NDArray[np.uint8],
    voxel: tuple[float, float, float],
    given: argparse.Namespace,
) -> dict[str, object]:
    """Lives through the rounds and says what they took."""
    client.put_label_class(1, "mitochondria")
    client.wait(client.import_volume(home / "raw.tif", dataset=DATASET, voxel_size=voxel))
    imported = client.wait(client.import_labels(home / "labels.tif", dataset=DATASET))
    model = client.create_model(MODEL, classes=[0, 1])
    bound = jobs_pb2.TrainingSettings(max_seconds=60 * given.train_minutes)
    clock = _Clock()
    campaign = client.start_campaign(
        CAMPAIGN,
        dataset=DATASET,
        model=MODEL,
        initial_patches=2 * given.batch,
        batch_patches=given.batch,
        budget_patches=given.batch * given.rounds,
        pool_patches=given.pool,
        initial_training=bound,
        round_training=bound,
        seed=given.seed,
        automatic=True,
    )
    _tell(f"network {model.architecture}, patch {campaign.patch.y}")
    _tell(campaign.waiting.message)
    rounds: list[dict[str, float]] = []
    first_proposals = 0.0
    for index in range(1, given.rounds + 1):
        proposals = _proposals(client, index)
        if index == 1:
            first_proposals = clock.wall()
            _tell(f"first patches after {first_proposals:.1f} s")
        else:
            rounds[-1]["next_patches_wall"] = clock.lap()[0]
            _tell(f"round {index}: patches after {rounds[-1]['next_patches_wall']:.1f} s more")
        _answer(client, proposals, truth, given.seconds)
        clock.lap()
        done = _version_of(client, index)
        wall, cpu = clock.lap()
        steps = client.job(done.train_job).result.train_result.metrics["steps"]
        rounds.append({"model_wall": wall, "model_cpu": cpu, "steps": steps})
        _tell(
            f"round {index}: {len(proposals)} answered, {done.version.rpartition('/')[2]} after "
            f"{wall:.1f} s ({cpu:.0f} s of CPU, {steps:.0f} steps)"
        )
    total_wall, total_cpu = clock.wall(), clock.cpu()
    start = next(
        job for job in client.jobs() if job.train_spec.campaign.endswith(f"/{CAMPAIGN}")
    ).result.train_result.metrics
    fresh = [round(each.metrics["fresh_iou"], 4) for each in client.rounds(CAMPAIGN)[:-1]]
    volume = imported.result.import_result.volume
    last = client.wait(client.evaluate(f"{MODEL}/latest", DATASET, volume))
    whole = last.result.evaluate_result.metrics["iou"]
    _tell(f"IoU on patches of the next round: {fresh}; of the last version on all: {whole:.3f}")
    return {
        "network": model.architecture,
        "patches_of_a_round": given.batch,
        "expert_seconds": given.seconds,
        "first_patches_wall": round(first_proposals, 2),
        "start_steps": start.get("steps"),
        "first_model_wall": round(rounds[0]["model_wall"], 1),
        "rounds": [{key: round(value, 1) for key, value in each.items()} for each in rounds],
        "total_wall": round(total_wall, 1),
        "total_cpu": round(total_cpu, 1),
        "fresh_iou": fresh,
        "iou": round(whole, 4),
    }


class _Clock:
    """Wall seconds, and CPU seconds of this process and all below it."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()
        self._cpu_began = self._cpu_last = _cpu()

    def wall(self) -> float:
        return time.monotonic() - self._began

    def cpu(self) -> float:
        return _cpu() - self._cpu_began

    def lap(self) -> tuple[float, float]:
        """What has passed since the last lap: wall and CPU seconds."""
        wall, cpu = time.monotonic(), _cpu()
        passed = wall - self._last, cpu - self._cpu_last
        self._last, self._cpu_last = wall, cpu
        return passed


def _cpu() -> float:
    total = 0.0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def _answer(
    client: Client,
    proposals: list[campaigns_pb2.Proposal],
    truth: NDArray[np.uint8],
    seconds: float,
) -> None:
    for proposal in proposals:
        time.sleep(seconds)
        box = Box.from_proto(proposal.box)
        mask = truth[box.slices]
        client.commit(
            DATASET, box, mask, proposal=proposal.name, claimant="expert", tool="benchmark"
        )


def _proposals(client: Client, index: int) -> list[campaigns_pb2.Proposal]:
    """The proposals of a round, claimed as soon as there are any."""
    end = time.monotonic() + _DEADLINE_SECONDS
    while time.monotonic() < end:
        if claimed := client.claim(CAMPAIGN, "expert", count=100):
            assert all(proposal.round.endswith(f"/{index}") for proposal in claimed)
            return claimed
        _check(client)
        time.sleep(_LOOK_SECONDS)
    raise TimeoutError(f"round {index} has no proposals")


def _version_of(client: Client, index: int) -> campaigns_pb2.Round:
    """A round, once it has made its version."""
    end = time.monotonic() + _DEADLINE_SECONDS
    while time.monotonic() < end:
        found = client.rounds(CAMPAIGN)[index - 1]
        if found.version:
            return found
        _check(client)
        time.sleep(_LOOK_SECONDS)
    raise TimeoutError(f"round {index} has no version")


def _check(client: Client) -> None:
    campaign = client.campaign(CAMPAIGN)
    if campaign.state == campaigns_pb2.CAMPAIGN_STATE_FAILED:
        raise RuntimeError(campaign.state_reason)


def _tell(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
