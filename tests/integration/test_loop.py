"""From a raw volume to a segmented one, the way a person goes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from biosegment.client.errors import DomainError
from biosegment.client.geometry import Box
from biosegment.v1 import campaigns_pb2, jobs_pb2
from tests.integration.conftest import SHAPE, VOXEL, World, wait_until


def test_what_was_imported_is_what_is_read(world: World) -> None:
    dataset = world.client.dataset("em")
    assert (dataset.voxel_size.z, dataset.voxel_size.y) == (VOXEL[0], VOXEL[1])
    assert np.array_equal(world.client.read("em"), world.raw)
    assert np.array_equal(world.client.read(world.reference), world.truth)


def test_annotations_are_painted_and_undone_in_the_label_volume(world: World) -> None:
    client = world.client
    view = client.dataset("em").label_volume
    box = Box((5, 0, 0), (6, 16, 16))
    before = client.read(view, box)
    assert (before == 255).all()
    mask = np.full(box.shape, 255, np.uint8)
    mask[:, 4:8, 4:8] = 1
    (commit,) = client.commit("em", box, mask, tool="test")
    wait_until(lambda: client.volume(view).revision >= commit.revision)
    assert np.array_equal(client.read(view, box), mask)
    undo = client.undo(commit.name)
    wait_until(lambda: client.volume(view).revision >= undo.revision)
    assert np.array_equal(client.read(view, box), before)


def test_a_campaign_runs_from_its_first_round_to_its_budget(world: World) -> None:
    client = world.client
    half = SHAPE[1] // 2
    training = jobs_pb2.TrainingSettings(steps=6, batch_size=2, learning_rate=1e-3)
    client.start_campaign(
        "c1",
        dataset="em",
        model="unet",
        strategy="entropy",
        patch=(1, 32, 32),
        initial_patches=3,
        batch_patches=2,
        pool_patches=40,
        budget_patches=5,
        region=Box((0, 0, 0), (SHAPE[0], half, SHAPE[2])),
        skip_pretraining=True,
        initial_training=training,
        round_training=training,
        evaluate_on=(world.reference, Box((0, half, 0), SHAPE)),
        seed=4,
        automatic=True,
    )
    answered: list[Box] = []

    def ended() -> bool:
        for proposal in client.claim("c1", "tester", count=10):
            box = Box.from_proto(proposal.box)
            assert box.stop[1] <= half
            assert all(box.intersection(other) is None for other in answered)
            answered.append(box)
            client.commit(
                "em",
                box,
                world.truth[box.slices],
                proposal=proposal.name,
                claimant="tester",
                seconds=1.5,
                strokes=2,
            )
        return client.campaign("c1").state == campaigns_pb2.CAMPAIGN_STATE_FINISHED

    wait_until(ended, 120)
    rounds = client.rounds("c1")
    assert [r.labelled_patches for r in rounds] == [3, 5]
    assert all(r.state == campaigns_pb2.ROUND_STATE_DONE for r in rounds)
    assert all(0 <= r.metrics["iou"] <= 1 for r in rounds)
    assert rounds[1].base_version == rounds[0].version
    second = client.version(rounds[1].version)
    assert second.base_version == rounds[0].version
    assert second.revision == rounds[1].revision
    assert "budget" in client.campaign("c1").state_reason.lower()
    assert [(r.cost.patches, r.cost.strokes, r.cost.seconds) for r in rounds] == [
        (3, 6, 4.5),
        (2, 4, 3.0),
    ]
    assert client.cost("c1").labelled_voxels == 5 * 32 * 32
    shown = cli(world, "campaign", "show", "c1").stdout
    assert "Labelled: 5 patches, 5120 voxels, with 10 strokes in 8 s" in shown
    as_json = json.loads(cli(world, "--json", "campaign", "show", "c1").stdout)
    assert (as_json["cost"]["seconds"], len(as_json["rounds"])) == (7.5, 2)


def test_a_campaign_can_begin_with_what_the_raw_voxels_teach(world: World) -> None:
    client = world.client
    training = jobs_pb2.TrainingSettings(steps=6, batch_size=2, learning_rate=1e-3)
    client.start_campaign(
        "cold",
        dataset="em",
        model="unet",
        patch=(1, 32, 32),
        initial_patches=3,
        pool_patches=30,
        budget_patches=3,
        pretraining=training,
        initial_training=training,
        seed=4,
        automatic=True,
    )

    def ended() -> bool:
        for proposal in client.claim("cold", "tester", count=10):
            box = Box.from_proto(proposal.box)
            client.commit(
                "em",
                box,
                world.truth[box.slices],
                proposal=proposal.name,
                claimant="tester",
            )
        return client.campaign("cold").state == campaigns_pb2.CAMPAIGN_STATE_FINISHED

    wait_until(ended, 120)
    blind, guided = client.rounds("cold")
    assert (blind.base_version, blind.labelled_patches) == ("", 1)
    start = client.version(client.version(blind.version).base_version)
    assert (start.base_version, start.revision) == ("", 0)
    assert start.metrics["crops"] > 0
    assert (guided.base_version, guided.labelled_patches) == (blind.version, 3)
    assert client.version(guided.version).base_version == blind.version
    assert "entropy" in client.proposals("cold", round_index=2)[0].statistics


def test_a_bounded_start_ends_when_the_labels_are_in_and_rounds_are_measured(world: World) -> None:
    client = world.client
    training = jobs_pb2.TrainingSettings(steps=6, batch_size=2, learning_rate=1e-3)
    # For hours, if nothing ended it.
    start = jobs_pb2.TrainingSettings(steps=1_000_000, batch_size=2, max_seconds=7200)
    client.start_campaign(
        "laptop",
        dataset="em",
        model="unet",
        patch=(1, 32, 32),
        initial_patches=4,
        batch_patches=2,
        pool_patches=30,
        budget_patches=6,
        pretraining=start,
        initial_training=training,
        round_training=training,
        seed=4,
        automatic=True,
    )

    def starting() -> list[jobs_pb2.Job]:
        return [job for job in client.jobs() if job.train_spec.campaign.endswith("/laptop")]

    def learns() -> bool:
        proposed = client.proposals("laptop")
        return bool(proposed) and any(job.progress.HasField("eta") for job in starting())

    wait_until(learns, 120)
    waiting = client.campaign("laptop").waiting
    assert "learns from the raw voxels" in waiting.message
    assert waiting.left.seconds > 60

    def ended() -> bool:
        for proposal in client.claim("laptop", "tester", count=10):
            box = Box.from_proto(proposal.box)
            client.commit(
                "em", box, world.truth[box.slices], proposal=proposal.name, claimant="tester"
            )
        return client.campaign("laptop").state == campaigns_pb2.CAMPAIGN_STATE_FINISHED

    wait_until(ended, 120)
    (job,) = starting()
    begun = job.result.train_result
    assert begun.metrics["finished_early"] == 1
    assert 0 < begun.metrics["steps"] < 1_000_000
    first, second, third = client.rounds("laptop")
    assert client.version(first.version).base_version == begun.version
    # Each version was measured on what the next round brought; the last one has no next.
    for measured, patches in ((first, 2), (second, 2)):
        assert measured.metrics["fresh_patches"] == patches
        assert measured.metrics["fresh_voxels"] == patches * 32 * 32
    assert "fresh_patches" not in third.metrics


def test_candidates_come_from_the_whole_of_the_volume_by_its_uncertainty(world: World) -> None:
    client = world.client
    training = jobs_pb2.TrainingSettings(steps=6, batch_size=2, learning_rate=1e-3)
    client.start_campaign(
        "unsure",
        dataset="em",
        model="unet",
        base_version="unet/1",
        patch=(1, 16, 16),
        batch_patches=2,
        initial_patches=2,
        pool_patches=8,
        budget_patches=4,
        candidates=campaigns_pb2.CANDIDATE_SOURCE_UNCERTAINTY_VOLUME,
        refresh_rounds=2,
        initial_training=training,
        round_training=training,
        automatic=True,
    )

    def ended() -> bool:
        for proposal in client.claim("unsure", "tester", count=10):
            box = Box.from_proto(proposal.box)
            client.commit(
                "em", box, world.truth[box.slices], proposal=proposal.name, claimant="tester"
            )
        return client.campaign("unsure").state == campaigns_pb2.CAMPAIGN_STATE_FINISHED

    wait_until(ended, 120)
    rounds = client.rounds("unsure")
    results = [client.job(each.rank_job).result.rank_result for each in rounds]
    version = rounds[0].base_version
    assert [result.search.version for result in results] == [version, version]
    assert "and not by" in results[1].source
    assert all(result.search.exact for result in results)
    # What brute force finds in the network's own entropies.
    entropy = client.predict(version, "em", Box.of_shape(SHAPE), output="entropy")
    means = entropy.reshape(SHAPE[0], SHAPE[1] // 16, 16, SHAPE[2] // 16, 16).mean(axis=(2, 4))
    least_sure = np.argsort(-means.reshape(-1))[:8]
    best = {tuple(int(n) for n in np.unravel_index(at, means.shape)) for at in least_sure}
    first = [Box.from_proto(proposal.box) for proposal in client.proposals("unsure", round_index=1)]
    assert len(first) == 2
    assert all((b.start[0], b.start[1] // 16, b.start[2] // 16) in best for b in first)


def test_a_segmentation_equals_the_direct_prediction_and_is_exported(world: World) -> None:
    client = world.client
    started = client.segment("unet/latest", "em", segmentation="seg1", entropy_volume="unsure")
    job = client.wait(started)
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert job.blocks.done == job.blocks.total
    volume = job.result.segment_result.volume
    version = client.segmentations("em")[0].version
    direct = client.predict(version, "em", Box.of_shape(SHAPE))
    assert np.array_equal(client.read(volume), direct)
    unsure = "projects/default/volumes/unsure"
    entropy = client.predict(version, "em", Box.of_shape(SHAPE), output="entropy")
    assert np.allclose(client.read(unsure), entropy, atol=1e-6)
    assert entropy.max() > 0
    assert job.result.segment_result.entropy_volume == unsure
    client.wait(client.export(volume, world.folder / "seg1.tif"))
    assert np.array_equal(tifffile.imread(world.folder / "seg1.tif"), direct)
    client.wait(client.export(volume, world.folder / "seg1.zarr", format="ome-zarr"))
    attributes = json.loads((world.folder / "seg1.zarr" / "zarr.json").read_text())["attributes"]
    assert attributes["ome"]["multiscales"]


def test_a_volume_that_is_needed_is_not_deleted(world: World) -> None:
    answer = cli(world, "volume", "delete", "em-raw")
    assert answer.returncode == 1
    assert "data set em" in answer.stderr
    names = [volume.name for volume in world.client.volumes()]
    assert "projects/default/volumes/em-raw" in names


def cli(world: World, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"BIOSEGMENT_CONNECTION": str(world.platform.connection_path)}
    return subprocess.run(
        [sys.executable, "-m", "biosegment.cli", *arguments],
        env=environment,
        cwd=world.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def bad_files(folder: Path) -> dict[str, Path]:
    good = (folder / "raw.tif").read_bytes()
    (folder / "truncated.tif").write_bytes(good[: len(good) // 3])
    tifffile.imwrite(folder / "small.tif", np.zeros((2, 32, 32), np.uint8))
    tifffile.imwrite(folder / "alien.tif", np.full(SHAPE, 77, np.uint8))
    tifffile.imwrite(folder / "float.tif", np.full((2, 32, 32), np.nan, np.float32))
    (folder / "empty.tif").write_bytes(b"")
    return {path.stem: path for path in folder.glob("*.tif")}


AGAIN = ("--volume", "again")
VOXEL_OPTION = ("--voxel-size", "45,9.2,9.2")
BAD = {
    "no such file": (("import", "nothing.tif", "--dataset", "bad", *VOXEL_OPTION), "nothing.tif"),
    "truncated": (("import", "truncated.tif", "--dataset", "bad", *VOXEL_OPTION), "truncated"),
    "empty": (("import", "empty.tif", "--dataset", "bad", *VOXEL_OPTION), "empty.tif"),
    "floats": (("import", "float.tif", "--dataset", "bad", *VOXEL_OPTION), "float"),
    "no voxel size": (("import", "small.tif", "--dataset", "bad"), "voxel size"),
    "outside the roots": (
        ("import", "/etc/hosts", "--dataset", "bad", *VOXEL_OPTION),
        "/etc/hosts",
    ),
    "wrong shape of labels": (("import-labels", "small.tif", "--dataset", "em", *AGAIN), "32"),
    "values not in the table": (("import-labels", "alien.tif", "--dataset", "em", *AGAIN), "77"),
    "unknown model": (("segment", "nomodel/1", "em"), "nomodel"),
    "a box outside the volume": (
        ("predict", "unet/1", "em", "--out", "x.npy", "--box", "0:1,0:9999,0:32"),
        "9999",
    ),
    "unknown job": (("job", "show", "nojob"), "nojob"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gives_one_sentence_and_leaves_nothing(world: World, case: str) -> None:
    bad_files(world.folder)
    before = (len(world.client.datasets()), len(world.client.jobs()))
    arguments, named = BAD[case]
    answer = cli(world, *arguments)
    assert answer.returncode == 1, answer
    said = answer.stderr.strip()
    assert named in said
    assert "Traceback" not in answer.stderr + answer.stdout
    assert len(said.splitlines()) <= 4, said
    assert (len(world.client.datasets()), len(world.client.jobs())) == before
    with pytest.raises(DomainError):
        world.client.dataset("bad")
