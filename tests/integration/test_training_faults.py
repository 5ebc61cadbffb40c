"""Faults in the middle of training with a part held out, and in the middle of a search."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from biosegment.client.errors import JobCancelledError
from biosegment.client.geometry import Box
from biosegment.v1 import jobs_pb2
from tests.integration.conftest import VOXEL, World, wait_until

SUCCEEDED = jobs_pb2.JOB_STATE_SUCCEEDED
RUNNING = jobs_pb2.TRIAL_STATE_RUNNING
STEPS = 90


@dataclass(frozen=True, slots=True)
class Patches:
    """A data set in which a dozen patches are annotated.

    Attributes:
        train: Starts a training run with a part held out.
        search: Starts a search of so many trials.
    """

    train: Callable[[], jobs_pb2.Job]
    search: Callable[..., jobs_pb2.Job]


def settings(steps: int) -> jobs_pb2.TrainingSettings:
    made = jobs_pb2.TrainingSettings(
        steps=steps,
        batch_size=2,
        checkpoint_steps=10,
        seed=1,
        hold_out=jobs_pb2.HoldOut(fraction=0.3, every_steps=15, patience=100),
    )
    made.patch.z, made.patch.y, made.patch.x = 1, 64, 64
    return made


@pytest.fixture(scope="module")
def patches(world: World) -> Patches:
    client = world.client
    job = client.import_volume(world.folder / "raw.tif", dataset="patches", voxel_size=VOXEL)
    client.wait(job)
    for z in range(6):
        for y, x in ((0, 0), (80, 96)):
            box = Box.at((z, y, x), (1, 64, 64))
            client.commit("patches", box, world.truth[box.slices], tool="test")
    return Patches(
        lambda: client.train("unet", "patches", settings=settings(STEPS)),
        lambda trials, steps=30: client.search(
            "unet",
            "patches",
            {"learning_rate": (1e-4, 1e-2), "dice_weight": (0.2, 0.8)},
            trials=trials,
            settings=settings(steps),
            make_version=True,
        ),
    )


def logged_steps(folder: Path, tag: str) -> list[int]:
    """The steps of a curve, in the order in which they lie in the files."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    return [
        event.step
        for path in sorted(folder.iterdir())
        for event in map(Event.FromString, RawEventFileLoader(str(path)).Load())
        if any(value.tag == tag for value in event.summary.value)
    ]


def test_a_killed_training_measures_what_an_undisturbed_one_does(
    world: World, patches: Patches
) -> None:
    client = world.client
    calm = client.wait(patches.train(), timeout=150).result.train_result
    assert calm.metrics["held_out_patches"] == 4
    assert calm.settings.precision == jobs_pb2.TRAINING_PRECISION_FLOAT32
    job = patches.train()
    wait_until(lambda: client.job(job.name).progress.done >= 35)
    world.platform.kill("training")
    ended = client.wait(job, timeout=150)
    assert (ended.state, ended.failures) == (SUCCEEDED, 1)
    result = ended.result.train_result
    assert result.resumed_from_step >= 30
    for name in ("held_out_iou", "best_step", "held_out_patches", "steps"):
        assert result.metrics[name] == pytest.approx(calm.metrics[name], rel=1e-3), name
    folder = Path(client.training_logs(job.name)) / "logs"
    assert logged_steps(folder, "loss") == list(range(1, STEPS + 1))
    assert logged_steps(folder, "held_out/iou") == [15, 30, 45, 60, 75, 90]


def test_a_child_that_the_system_kills_goes_on_with_smaller_pieces(
    world: World, patches: Patches
) -> None:
    client = world.client
    job = patches.train()
    wait_until(lambda: client.job(job.name).progress.done >= 25)
    service = psutil.Process(world.platform.process("training"))
    child = next(each for each in service.children() if "spawn_main" in " ".join(each.cmdline()))
    child.kill()
    ended = client.wait(job, timeout=150)
    # The same attempt goes on; the service was never away.
    assert (ended.state, ended.attempt, ended.failures) == (SUCCEEDED, 1, 0)
    assert ended.result.train_result.resumed_from_step >= 20
    assert ended.result.train_result.metrics["parts"] == 2


def test_a_killed_search_goes_on_where_it_stopped(world: World, patches: Patches) -> None:
    client = world.client
    job = patches.search(4)

    def under_way() -> bool:
        trials = client.search_result(job.name).trials
        return len(trials) == 2 and trials[1].state == RUNNING and len(trials[1].measurements) > 0

    wait_until(under_way, 120)
    before = client.search_result(job.name)
    world.platform.kill("training")
    ended = client.wait(job, timeout=150)
    assert (ended.state, ended.failures) == (SUCCEEDED, 1)
    found = ended.result.search_result
    assert [trial.number for trial in found.trials] == [0, 1, 2, 3]
    assert found.trials[0] == before.trials[0]
    assert dict(found.trials[1].values) == dict(before.trials[1].values)
    for step, iou in before.trials[1].measurements.items():
        assert found.trials[1].measurements[step] == pytest.approx(iou, rel=1e-3)
    ious = [trial.iou for trial in found.trials]
    assert ious[found.best_trial] == max(ious)
    best = found.trials[found.best_trial]
    assert found.best_settings.learning_rate == best.values["learning_rate"]
    version = client.version(found.train_result.version)
    assert version.metrics["held_out_iou"] == pytest.approx(best.iou)
    assert client.search_result(job.name) == found


def test_a_cancelled_search_keeps_its_trials_and_can_be_taken_up(
    world: World, patches: Patches
) -> None:
    client = world.client
    # Long enough for the second trial to be under way when the cancellation arrives.
    job = patches.search(2, steps=300)
    wait_until(lambda: len(client.search_result(job.name).trials) == 2, 120)
    client.cancel(job.name)
    with pytest.raises(JobCancelledError):
        client.wait(job, timeout=60)
    kept = client.search_result(job.name)
    assert [trial.state for trial in kept.trials] == [jobs_pb2.TRIAL_STATE_DONE, RUNNING]
    ended = client.wait(client.retry(job.name), timeout=150)
    found = ended.result.search_result
    assert found.trials[0] == kept.trials[0]
    assert dict(found.trials[1].values) == dict(kept.trials[1].values)
    assert found.trials[1].state == jobs_pb2.TRIAL_STATE_DONE
