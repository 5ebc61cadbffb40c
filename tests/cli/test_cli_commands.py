"""The command line against servicers behind a real server, on the SDK's background loop."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from click.testing import Result as ClickResult
from google.protobuf import timestamp_pb2
from tests.client.sdk_platform import DATASET, JOB, InMemoryPlatform
from typer.testing import CliRunner

from biosegment.cli.app import app
from biosegment.client import arrays
from biosegment.client.connection import Connection
from biosegment.client.loop import SHARED
from biosegment.v1 import (
    annotations_pb2,
    ingest_pb2,
    instances_pb2,
    jobs_pb2,
    registry_pb2,
    training_pb2,
    types_pb2,
)

Run = Callable[..., ClickResult]


def change(platform: InMemoryPlatform, **fields: Any) -> None:
    SHARED.run(platform.jobs.change(**fields))


def test_lists_are_tables_or_json(run: Run) -> None:
    table = run("dataset", "list")
    assert table.exit_code == 0
    row = " ".join(table.stdout.splitlines()[1].split())
    assert row.startswith("liver 4 × 6 × 8 30 × 4 × 4 nm 0")
    assert "projects/default/datasets/liver" in run("--project", "p", "dataset", "list").stdout
    found = json.loads(run("--json", "dataset", "list").stdout)
    assert found[0]["shape"] == {"z": 4, "y": 6, "x": 8}
    assert "raw_volume" in run("dataset", "show", "liver").stdout
    assert json.loads(run("--json", "--project", "p", "project", "list").stdout)[3] == {
        "name": "projects/p03",
        "display_name": "",
    }


def test_a_refusal_is_one_sentence_on_stderr(run: Run) -> None:
    answer = run("dataset", "show", "kidney")
    assert answer.exit_code == 1
    assert answer.stdout == ""
    assert answer.stderr == "Error: There is no data set kidney.\n"


def test_a_wrong_token_is_one_sentence(platform: InMemoryPlatform, tmp_path: Path) -> None:
    path = tmp_path / "wrong.json"
    Connection(token="wrong", addresses=platform.connection.addresses).save(path)
    answer = CliRunner().invoke(app, ["--connection", str(path), "job", "list"])
    assert answer.exit_code == 1
    assert answer.stderr.startswith("Error: The request carries no valid token.")
    assert len(answer.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["dataset", "show"],
        ["class", "set", "254", "too much"],
        ["import", "x.tif", "--dataset", "d", "--voxel-size", "4,x,4"],
        ["import", "x.tif", "--dataset", "d", "--meta", "nothing"],
        ["predict", "m/1", "liver", "--box", "0:1,0:2", "--out", "o.npy"],
        ["predict", "m/1", "liver", "--box", "0:1,2:2,0:1", "--out", "o.npy"],
        ["segment", "m/1", "liver", "--box", "-1:1,0:2,0:1"],
        ["segment", "m/1", "liver", "--block", "16,0,256"],
        ["train", "m", "liver", "--patch", "0,1,1"],
        ["train", "m", "liver", "--hold-out", "0.7"],
        ["train", "m", "liver", "--patience", "3"],
        ["train", "m", "liver", "--precision", "float8"],
        ["search", "start", "m", "liver"],
        ["search", "start", "m", "liver", "--vary", "learning_rate"],
        ["search", "start", "m", "liver", "--vary", "learning_rate=1:2:3"],
        ["search", "start", "m", "liver", "--vary", "learning_rate=a:b"],
        ["annotate", "commit", "liver", "m.npy"],
        ["annotate", "commit", "liver", "m.npy", "--box", "0:1,0:1,0:1", "--proposal", "c/1"],
        [
            "campaign",
            "start",
            "c",
            "--dataset",
            "d",
            "--model",
            "m",
            "--evaluate-box",
            "0:1,0:1,0:1",
        ],
    ],
)
def test_wrong_usage_ends_with_status_2(
    platform: InMemoryPlatform, run: Run, arguments: list[str]
) -> None:
    answer = run(*arguments)
    assert answer.exit_code == 2
    assert answer.stderr
    assert platform.seen.requests == []


def test_an_import_is_followed_to_its_end(
    platform: InMemoryPlatform, run: Run, tmp_path: Path
) -> None:
    change(platform, state=jobs_pb2.JOB_STATE_SUCCEEDED)
    arguments = [
        "import",
        str(tmp_path / "x.tif"),
        "--dataset",
        "liver",
        "--meta",
        "organism=mouse",
    ]
    answer = run("--json", *arguments, "--voxel-size", "30,4,4")
    assert answer.exit_code == 0
    assert json.loads(answer.stdout)["state"] == "JOB_STATE_SUCCEEDED"
    assert "j: train: succeeded" in answer.stderr
    (request,) = platform.seen.of(ingest_pb2.StartImportRequest)
    assert request.spec.dataset.metadata == {"organism": "mouse"}
    assert request.spec.voxel_size.z == 30


def test_people_get_words_and_numbers(platform: InMemoryPlatform, run: Run) -> None:
    box = types_pb2.Box(z_stop=1, y_start=2, y_stop=3, x_stop=4)
    change(
        platform,
        state=jobs_pb2.JOB_STATE_RUNNING,
        segment_spec=jobs_pb2.SegmentSpec(box=box, block=types_pb2.Shape(z=1, y=8, x=8)),
        progress=jobs_pb2.Progress(stage="blocks", figures={"loss": 0.123456}),
    )
    change(platform, create_time=timestamp_pb2.Timestamp(seconds=1_800_000_000, nanos=5))
    lines = dict(line.split("  ", 1) for line in run("job", "show", "j").stdout.splitlines())
    shown = {key: value.strip() for key, value in lines.items()}
    assert shown["state"] == "running"
    assert shown["kind"] == "train"
    assert shown["segment_spec.box"] == "0:1,2:3,0:4"
    assert shown["segment_spec.block"] == "1,8,8"
    assert shown["progress.figures.loss"] == "0.1235"
    assert shown["create_time"] == "2027-01-15 08:00:00 UTC"
    row = run("job", "list").stdout.splitlines()[1]
    assert row.split()[:4] == ["j", "train", "running", "blocks"]


def test_not_waiting_only_starts(platform: InMemoryPlatform, run: Run) -> None:
    answer = run("--json", "train", "unet", "liver", "--steps", "7", "--no-wait")
    assert answer.exit_code == 0
    assert json.loads(answer.stdout)["name"] == JOB
    (request,) = platform.seen.of(training_pb2.StartTrainingRequest)
    assert request.spec.settings.steps == 7


def test_how_to_train_reaches_the_service(platform: InMemoryPlatform, run: Run) -> None:
    how = ["--hold-out", "0.25", "--measure-every", "20", "--patience", "3", "--dice-weight", "0"]
    found = ["--precision", "bfloat16", "--find-learning-rate"]
    assert run("train", "unet", "liver", *how, *found, "--no-wait").exit_code == 0
    assert run("train", "unet", "liver", "--no-wait").exit_code == 0
    full, bare = (r.spec.settings for r in platform.seen.of(training_pb2.StartTrainingRequest))
    hold_out = jobs_pb2.HoldOut(fraction=0.25, every_steps=20, patience=3)
    assert (full.hold_out, full.precision) == (hold_out, jobs_pb2.TRAINING_PRECISION_BFLOAT16)
    assert (full.find_learning_rate, full.find_batch_size) == (True, False)
    assert full.HasField("dice_weight")
    assert bare == jobs_pb2.TrainingSettings()


def test_a_search_is_started_and_shown(platform: InMemoryPlatform, run: Run) -> None:
    vary = ["--vary", "learning_rate=1e-4:1e-2", "--vary", "batch_size=2:16:linear"]
    answer = run("search", "start", "unet", "liver", *vary, "--trials", "9", "--no-wait")
    assert answer.exit_code == 0, answer.stderr
    (request,) = platform.seen.of(training_pb2.StartSearchRequest)
    rate, size = request.spec.parameters
    assert (rate.name, rate.low, rate.high, rate.logarithmic) == ("learning_rate", 1e-4, 1e-2, True)
    assert (size.name, size.logarithmic) == ("batch_size", False)
    assert request.spec.training.settings.hold_out.fraction == 0.2
    lines = run("search", "show", "j").stdout.splitlines()
    assert lines[1].split() == ["0", "done", "4", "0.002", "0.625", "12"]
    assert lines[2].split()[:4] == ["1", "failed", "8", "0.1"]
    assert "Training diverged at step 3." in lines[2]
    assert "--learning-rate 0.002 --batch-size 4" in lines[-1]
    shown = json.loads(run("--json", "search", "show", "j").stdout)
    assert shown["best_settings"]["steps"] == 200


def test_the_curves_of_a_training_are_found(platform: InMemoryPlatform, run: Run) -> None:
    change(platform, train_spec=jobs_pb2.TrainSpec())
    where = json.loads(run("--json", "tensorboard", "j", "--where").stdout)
    assert where["folder"] == "/store/default/objects/jobs/j"
    assert where["command"] == "tensorboard --logdir /store/default/objects/jobs/j"
    assert "biosegment tensorboard j" in run("job", "show", "j").stderr
    none_yet = run("tensorboard", "j")
    assert (none_yet.exit_code, "first checkpoint" in none_yet.stderr) == (1, True)


def test_a_failed_job_is_its_sentence_and_status_1(platform: InMemoryPlatform, run: Run) -> None:
    error = jobs_pb2.JobError(reason="OUT_OF_MEMORY", message="Too little memory [0:3].")
    change(platform, state=jobs_pb2.JOB_STATE_FAILED, error=error)
    answer = run("train", "unet", "liver")
    assert answer.exit_code == 1
    assert answer.stderr.splitlines()[-1] == "Error: Too little memory [0:3]."


def test_a_job_that_lost_blocks_is_no_success(platform: InMemoryPlatform, run: Run) -> None:
    change(
        platform,
        state=jobs_pb2.JOB_STATE_PARTIALLY_SUCCEEDED,
        blocks=jobs_pb2.BlockSummary(total=8, done=7, quarantined=1),
        partial_failures=[
            jobs_pb2.BlockFailure(
                block=3,
                box=types_pb2.Box(z_stop=1, y_stop=16, x_stop=16),
                error=jobs_pb2.JobError(message="It broke."),
            )
        ],
    )
    answer = run("job", "watch", "j")
    assert answer.exit_code == 1
    assert "1 of 8 blocks failed: [0:1, 0:16, 0:16]: It broke." in answer.stderr
    assert "biosegment job retry j" in answer.stderr


def test_a_job_is_paused_and_resumed(platform: InMemoryPlatform, run: Run) -> None:
    paused = run("--json", "job", "pause", "j")
    assert json.loads(paused.stdout)["state"] == "JOB_STATE_PAUSED"
    resumed = run("--json", "job", "resume", "j", "--no-wait")
    assert json.loads(resumed.stdout)["state"] == "JOB_STATE_RUNNING"
    assert platform.seen.of(jobs_pb2.ResumeJobRequest)[0].name == JOB


def test_an_interrupt_leaves_the_job_running(
    platform: InMemoryPlatform, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from biosegment.client import Client

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "wait", interrupted)
    answer = run("train", "unet", "liver")
    assert answer.exit_code == 130
    assert "biosegment job watch j" in answer.stderr
    assert "biosegment job cancel j" in answer.stderr
    assert platform.jobs.job.state == jobs_pb2.JOB_STATE_QUEUED


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_a_mask_file_answers_a_proposal(
    platform: InMemoryPlatform, run: Run, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"mask{suffix}"
    mask = np.array([[0, 1], [254, 255]], np.uint8)
    if suffix == ".npy":
        np.save(path, mask)
    else:
        tifffile.imwrite(path, mask)
    answer = run("annotate", "commit", "liver", str(path), "--proposal", "c/1", "--claimant", "ann")
    assert answer.exit_code == 0, answer.stderr
    (request,) = platform.seen.of(annotations_pb2.CommitAnnotationRequest)
    assert request.claimant == "ann"
    assert request.annotation.box.z_start == 1
    assert request.parent == DATASET.name


@pytest.mark.parametrize(
    ("stored", "rule"),
    [
        (np.array([[255, 0], [0, 255]], np.uint8), "255=1"),
        (np.array([[128, 0], [0, 128]], np.uint8), "128=1"),
        (np.array([[65535, 0], [0, 65535]], np.uint16), "65535=1"),
        (np.array([[3, 0], [0, 9]], np.int64), "1-=1"),
    ],
)
def test_masks_in_other_numbers_are_asked_about(
    platform: InMemoryPlatform, run: Run, tmp_path: Path, stored: np.ndarray, rule: str
) -> None:
    path = tmp_path / "fiji.tif"
    tifffile.imwrite(path, stored)
    words = ["annotate", "commit", "liver", str(path), "--box", "0:1,0:2,0:2"]
    asked = run(*words)
    assert (asked.exit_code, platform.seen.of(annotations_pb2.CommitAnnotationRequest)) == (1, [])
    assert str(path) in asked.stderr
    assert "--map" in asked.stderr
    answer = run(*words, "--map", rule)
    assert answer.exit_code == 0, answer.stderr
    (request,) = platform.seen.of(annotations_pb2.CommitAnnotationRequest)
    sent = arrays.unpack_mask(request.annotation.mask, request.annotation.compression, (1, 2, 2))
    assert sent.tolist() == [[[1, 0], [0, 1]]]


def test_voxels_that_get_no_label_are_told(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "m.npy"
    np.save(path, np.array([[0, 1], [255, 254]], np.uint8))
    answer = run("annotate", "commit", "liver", str(path), "--box", "0:1,0:2,0:2")
    assert answer.exit_code == 0, answer.stderr
    assert "1 of 4 voxels hold 255 and were left as they were." in answer.stderr
    assert "1 of 4 voxels hold 254 and lost their labels." in answer.stderr


def test_files_that_are_not_what_their_name_says_get_a_sentence_of_ours(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "text.npy").write_text("0 1 1")
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "zip.npz", np.zeros((1, 1)))
    (tmp_path / "zip.npz").rename(tmp_path / "zip.npy")
    tifffile.imwrite(tmp_path / "colour.tif", np.zeros((4, 5, 3), np.uint8), photometric="rgb")
    for name, words in (
        ("text.npy", "is no .npy file"),
        ("zip.npy", "is no .npy file"),
        ("pickled.npy", "Python objects"),
        ("colour.tif", "colour image"),
    ):
        answer = run("annotate", "commit", "liver", str(tmp_path / name), "--box", "0:1,0:1,0:1")
        assert answer.exit_code == 1, name
        assert words in answer.stderr, name
        assert "pickle" not in answer.stderr.replace("pickled.npy", ""), name


def test_reference_labels_carry_the_rules_for_their_numbers(
    platform: InMemoryPlatform, run: Run
) -> None:
    words = ["import-labels", "t.tif", "--dataset", "liver", "--no-wait"]
    assert run(*words, "--map", "255=1", "--map", "2-=1").exit_code == 0
    (request,) = platform.seen.of(ingest_pb2.StartImportRequest)
    first, second = request.spec.labels.mappings
    assert (first.first, first.last, first.value) == (255, 255, 1)
    assert (second.first, second.HasField("last"), second.value) == (2, False, 1)
    wrong = run(*words, "--map", "white=1")
    assert (wrong.exit_code, "255=1" in wrong.stderr) == (1, True)


def test_figures_of_evaluations_stand_apart_with_what_they_were_measured_on(run: Run) -> None:
    table = run("model", "versions", "unet").stdout
    trained, _, measured = table.partition("Measured")
    assert "liver" in trained
    assert "iou" not in trained
    row = measured.splitlines()[-1].split()
    assert row == ["unet/1", "kidney", "kidney-reference", "0:1,0:2,0:3", "iou=0.25", "6"]
    (version,) = json.loads(run("--json", "model", "versions", "unet").stdout)
    assert version["evaluations"][0]["metrics"] == {"iou": 0.25}


def test_files_that_are_no_masks_are_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY broken")
    (tmp_path / "broken.tif").write_bytes(b"II*\0")
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    np.save(tmp_path / "deep.npy", np.zeros((1, 1, 1, 1), np.uint8))
    np.save(tmp_path / "float.npy", np.full((1, 1), np.nan))
    for name in ("broken.npy", "broken.tif", "pickled.npy", "deep.npy", "float.npy", "no.npy", "x"):
        place = ["--box", "0:1,0:1,0:1"]
        answer = run("annotate", "commit", "liver", str(tmp_path / name), *place)
        assert answer.exit_code == 1, name
        assert answer.stderr.startswith("Error: ")
        assert answer.exception is None or isinstance(answer.exception, SystemExit)


def test_a_prediction_goes_into_a_file_that_did_not_exist(run: Run, tmp_path: Path) -> None:
    box = ["--box", "0:1,0:4,0:5"]
    for name in ("p.npy", "p.tif"):
        out = tmp_path / name
        answer = run("predict", "unet/1", "liver", *box, "--out", str(out))
        assert answer.exit_code == 0, answer.stderr
        loaded = np.load(out) if name.endswith("npy") else tifffile.imread(out)
        assert loaded.size == 20
        assert (loaded == 1).all()
        again = run("predict", "unet/1", "liver", *box, "--out", str(out))
        assert (again.exit_code, "exists" in again.stderr) == (1, True)
    several = tmp_path / "several.npy"
    run("predict", "unet/1", "liver", *box, "--out", str(several), "--output", "probabilities")
    assert np.load(several).shape == (2, 1, 4, 5)


def test_instances_are_found_without_saying_so(platform: InMemoryPlatform, run: Run) -> None:
    for words in (["liver/mito-1"], ["find", "liver/mito-1"], ["--min-size", "9", "liver/mito-1"]):
        answer = run("instances", *words, "--fill-holes", "--watershed", "40", "--no-wait")
        assert answer.exit_code == 0, answer.output
    asked = platform.seen.of(instances_pb2.StartInstancesRequest)
    assert [request.spec.min_voxels for request in asked] == [0, 0, 9]
    assert all(request.spec.fill_holes and request.spec.split_nm == 40 for request in asked)
    assert run("instances", "--help").exit_code == 0


def test_a_table_goes_into_a_file_that_did_not_exist(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "mito.csv"
    assert run("instances", "table", "mito", "--out", str(out)).exit_code == 0
    assert out.read_bytes() == b'"id"\n1\n'
    again = run("instances", "table", "mito", "--out", str(out))
    assert (again.exit_code, "exists" in again.stderr) == (1, True)
    strange = run("instances", "table", "mito", "--out", str(tmp_path / "mito.xls"))
    assert (strange.exit_code, ".parquet" in strange.stderr) == (1, True)


def test_values_reach_the_record(platform: InMemoryPlatform, run: Run) -> None:
    assert run("class", "set", "1", "mitochondria", "--color", "#ff0000").exit_code == 0
    made = ["model", "create", "unet", "--class", "0", "--class", "1", "--set", "levels=3"]
    assert run(*made).exit_code == 0
    (label,) = platform.seen.of(registry_pb2.PutLabelClassRequest)
    assert label.label_class.name == "projects/default/labelClasses/1"
    assert "ontology_term" not in label.update_mask.paths, "what is not given is left alone"
    (model,) = platform.seen.of(registry_pb2.CreateModelRequest)
    assert list(model.model.classes) == [0, 1]
    assert model.model.parameters["levels"] == 3


def test_a_model_of_a_network_that_is_not_on_offer_is_not_made(
    platform: InMemoryPlatform, run: Run
) -> None:
    classes = ["--class", "0", "--class", "1"]
    for wrong, words in (
        (["--architecture", "vnet"], "unet2d-quarter, unet3d, unet3d-quarter"),
        (["--set", "width=16"], 'has no parameter "width"'),
        (["--set", "in_channels=4"], "must be odd"),
    ):
        refused = run("model", "create", "other", *classes, *wrong)
        assert (refused.exit_code, words in refused.stderr) == (1, True), refused.stderr
    assert not platform.seen.of(registry_pb2.CreateModelRequest)
    listed = json.loads(run("--json", "model", "architectures").stdout)
    flagged = [
        "model",
        "create",
        "wide",
        "--class",
        "0",
        "--class",
        "1",
        "--architecture",
        "unet2d-group",
    ]
    assert "looks at whole sections" in run(*flagged).stderr
    patches = {one["name"]: one["patch"] for one in listed}
    assert patches["unet2d"] == {"z": 1, "y": 128, "x": 128}
    assert patches["unet3d"] == {"z": 16, "y": 64, "x": 64}
