"""A campaign that runs itself, with the whole platform killed in the middle of every phase.

``python -m tests.chaos.campaign [--data FOLDER]`` lives through the same campaign twice, on
``raw.tif`` and ``mito.tif`` of a folder (a cut of them), or on a phantom: once in peace, and once
with every process of the platform killed with SIGKILL in the pretraining, in a ranking, between two
answers of a batch, in a training, and in an evaluation, and started again each time. A simulated
expert answers through the API. Both must come to the same rounds, proposals, labels and weights;
the last line is one JSON object that says so, and the exit status is 1 if they do not.
"""

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tifffile
from numpy.typing import NDArray

from biosegment.client import Client
from biosegment.client.connection import Connection
from biosegment.client.geometry import ZYX, Box, shape_proto
from biosegment.client.stubs import SyncStubs
from biosegment.nets import weights
from biosegment.phantom import generate
from biosegment.runtime import objects
from biosegment.v1 import campaigns_pb2, jobs_pb2

NAME, EXPERT = "chaos", "expert"
VOXEL = (50.0, 4.6, 4.6)
CUT: ZYX = (8, 512, 512)
PHASES = ("pretraining", "annotating", "training", "ranking", "evaluating")
_LOOK_SECONDS = 0.02
_QUICK = {
    "BIOSEGMENT_LEASE_SECONDS": "6",
    "BIOSEGMENT_RECONCILE_SECONDS": "0.5",
    "BIOSEGMENT_SWEEP_SECONDS": "2",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The campaign.

    Attributes:
        raw: Raw voxels, (z, y, x).
        labels: Class values of the same shape.
        patch: Edge of the square patches.
        batch: Patches of each round.
        rounds: Rounds in all.
        pool: Candidates of each round.
        steps: Training steps of each round, and before the first.
        deadline: Seconds that a run may take.
    """

    raw: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    patch: int = 64
    batch: int = 4
    rounds: int = 4
    pool: int = 100
    steps: int = 30
    deadline: float = 1500.0


@dataclass(slots=True)
class Run:
    """One life of the campaign.

    Attributes:
        history: Rounds and proposals as plain values, to be compared.
        seconds: How long it took.
        killed: Phases in which the platform was killed, in their order.
    """

    history: dict[str, Any]
    seconds: float
    killed: list[str] = field(default_factory=list)


class Up:
    """``biosegment up`` as a process that can be killed with everything below it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._said = folder / "up.json"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Client:
        """Starts it; returns a client once everything is up."""
        command = [sys.executable, "-m", "biosegment.cli", "--json", "up"]
        command += ["--home", str(self._folder / "home"), "--gateway-port", "0"]
        command += ["--import-root", str(self._folder)]
        with self._said.open("wb") as said, (self._folder / "up.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=said, stderr=log, env=os.environ | _QUICK, start_new_session=True
            )
        end = time.monotonic() + 180
        while time.monotonic() < end:
            try:
                told = json.loads(self._said.read_text())
            except ValueError:
                assert self._process.poll() is None, (self._folder / "up.log").read_text()[-2000:]
                time.sleep(0.1)
                continue
            return Client(Connection.load(Path(told["connection"])))
        raise TimeoutError("the platform did not start")

    def kill(self) -> None:
        """Kills every process of it, the supervisor first, so that it restarts nothing."""
        if self._process is None:
            return
        family = []
        with contextlib.suppress(psutil.NoSuchProcess):
            supervisor = psutil.Process(self._process.pid)
            family = [supervisor, *supervisor.children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(30)
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive
        self._process = None


def live(plan: Plan, folder: Path, kill_in: tuple[str, ...] = ()) -> Run:
    """Lives through the campaign, with the platform killed once in each of some phases.

    Args:
        plan: The campaign.
        folder: For the platform and its files.
        kill_in: Of PHASES.
    """
    tifffile.imwrite(folder / "raw.tif", plan.raw)
    tifffile.imwrite(folder / "labels.tif", plan.labels)
    up, left, killed = Up(folder), list(kill_in), list[str]()
    began = time.monotonic()
    try:
        client = up.start()
        _prepare(client, plan, folder)
        while True:
            if time.monotonic() - began > plan.deadline:
                raise TimeoutError(f"the campaign did not end; still to kill in: {left}")
            phase = _go_on(client, plan, left)
            if phase == "finished":
                assert not left, f"never seen: {left}"
                return Run(_history(client), time.monotonic() - began, killed)
            if phase in left:
                up.kill()
                print(f"killed in {phase} after {time.monotonic() - began:.0f} s", flush=True)
                left.remove(phase)
                killed.append(phase)
                client.close()
                client = up.start()
            time.sleep(_LOOK_SECONDS)
    finally:
        up.kill()


def _prepare(client: Client, plan: Plan, folder: Path) -> None:
    client.put_label_class(1, "mitochondria")
    client.wait(client.import_volume(folder / "raw.tif", dataset=NAME, voxel_size=VOXEL))
    truth = client.wait(client.import_labels(folder / "labels.tif", dataset=NAME))
    client.create_model(NAME, classes=[0, 1], architecture="unet2d-quarter")
    depth, height, width = plan.raw.shape
    training = jobs_pb2.TrainingSettings(
        steps=plan.steps, batch_size=4, checkpoint_steps=5, patch=shape_proto((1, 64, 64))
    )
    # Longer than the others, to be caught at it: its progress is told every two seconds.
    pretraining = jobs_pb2.TrainingSettings()
    pretraining.CopyFrom(training)
    pretraining.steps = 4 * plan.steps
    client.start_campaign(
        NAME,
        dataset=NAME,
        model=NAME,
        patch=(1, plan.patch, plan.patch),
        initial_patches=plan.batch,
        batch_patches=plan.batch,
        pool_patches=plan.pool,
        budget_patches=plan.batch * plan.rounds,
        region=Box((0, 0, 0), (depth, height // 2, width)),
        evaluate_on=(
            truth.result.import_result.volume,
            Box((0, height // 2, 0), (depth, height, width)),
        ),
        pretraining=pretraining,
        initial_training=training,
        round_training=training,
        seed=5,
        automatic=True,
    )


def _go_on(client: Client, plan: Plan, left: list[str]) -> str:
    """Answers what there is to answer, and says in the middle of which phase the campaign is."""
    campaign = client.campaign(NAME)
    assert campaign.state != campaigns_pb2.CAMPAIGN_STATE_FAILED, campaign.state_reason
    if campaign.state == campaigns_pb2.CAMPAIGN_STATE_FINISHED:
        return "finished"
    rounds = client.rounds(NAME)

    def running(job: str, done: int = 0) -> bool:
        found = client.job(job) if job else jobs_pb2.Job()
        return found.state == jobs_pb2.JOB_STATE_RUNNING and found.progress.done >= done

    if "pretraining" in left and any(
        running(job.name, 6)
        for job in client.jobs()
        if job.train_spec.objective == jobs_pb2.TRAINING_OBJECTIVE_RESTORATION
    ):
        return "pretraining"
    if not rounds:
        return ""
    last = rounds[-1]
    for each in rounds:
        if each.state == campaigns_pb2.ROUND_STATE_EVALUATING and running(each.evaluate_job):
            return "evaluating"
    if last.state == campaigns_pb2.ROUND_STATE_ANNOTATING:
        half = "annotating" in left
        for proposal in client.claim(NAME, EXPERT, count=1 if half else 1000):
            box = Box.from_proto(proposal.box)
            mask = plan.labels[box.slices]
            client.commit(
                NAME, box, mask, proposal=proposal.name, claimant=EXPERT, seconds=2.0, strokes=1
            )
        return "annotating" if half else ""
    if last.state == campaigns_pb2.ROUND_STATE_TRAINING:
        return "training" if running(last.train_job, 6) else ""
    if last.state == campaigns_pb2.ROUND_STATE_RANKING and last.base_version:
        return "ranking" if running(last.rank_job) else ""
    return ""


def _history(client: Client) -> dict[str, Any]:
    """Everything that a restart must not change."""
    return {
        "rounds": [
            {
                "round": each.name,
                "version": each.version,
                "base_version": each.base_version,
                "revision": each.revision,
                "labelled_patches": each.labelled_patches,
                "strokes": each.cost.strokes,
                # One that is passed over as a whole has no version, and none measured.
                "iou": each.metrics.get("iou"),
                "weights": _hash(client, each.version) if each.version else "",
            }
            for each in client.rounds(NAME)
        ],
        "proposals": [
            (each.name, each.round, str(Box.from_proto(each.box)), each.score, each.annotation)
            for each in client.proposals(NAME)
        ],
        "commits": [(each.name, each.labelled_voxels) for each in client.annotations(NAME)],
    }


def _hash(client: Client, version: str) -> str:
    """SHA-256 over the values of a version's weights; its file also notes job and seconds."""
    with SyncStubs(client.connection) as stubs:
        module = weights.load(objects.read(stubs, client.version(version).weights)).module
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def differences(calm: dict[str, Any], killed: dict[str, Any]) -> list[str]:
    """What is not the same in two histories, in words."""
    found = []
    for part in calm:
        if len(calm[part]) != len(killed[part]):
            found.append(f"{part}: {len(calm[part])} and {len(killed[part])}")
        pairs = zip(calm[part], killed[part], strict=False)
        found += [f"{part}: {a} and {b}" for a, b in pairs if a != b]
    return found


def _plan(data: Path | None) -> tuple[str, Plan]:
    """What to run on, by its name: a cut of the folder's stack, or a phantom."""
    if data is None or not (data / "raw.tif").exists():
        phantom = generate(shape=CUT, voxel_size=VOXEL, seed=5)
        return "phantom", Plan(raw=phantom.raw, labels=phantom.labels)
    raw, labels = (tifffile.imread(data / f"{name}.tif") for name in ("raw", "mito"))
    z, y, x = CUT
    # From the middle, where there is most of everything.
    top, side = (max(0, (n - m) // 2) for n, m in zip(raw.shape[1:], (y, x), strict=True))
    cut = (slice(z), slice(top, top + y), slice(side, side + x))
    return data.name, Plan(raw=raw[cut], labels=(labels[cut] > 0).astype(np.uint8))


def main() -> int:
    """Runs both, compares, and returns the exit status."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, help="folder with raw.tif and mito.tif")
    given = arguments.parse_args()
    name, plan = _plan(given.data)
    runs = []
    for phases in ((), PHASES):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(live(plan, Path(folder), phases))
    calm, killed = runs
    found = differences(calm.history, killed.history)
    for line in found:
        print(line)
    result = {
        "data": name,
        "shape": plan.raw.shape,
        "killed_in": killed.killed,
        "rounds": len(calm.history["rounds"]),
        "proposals": len(calm.history["proposals"]),
        "iou": [each["iou"] and round(each["iou"], 4) for each in calm.history["rounds"]],
        "seconds": [round(calm.seconds), round(killed.seconds)],
        "same": not found,
    }
    print(json.dumps(result))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
