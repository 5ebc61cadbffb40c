"""What came of a job, in a sentence or two, and what one would do next."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result as ClickResult
from tests.client.sdk_platform import InMemoryPlatform

from biosegment.cli import outcomes, units
from biosegment.client.loop import SHARED
from biosegment.v1 import jobs_pb2, registry_pb2, storage_pb2, types_pb2

Run = Callable[..., ClickResult]
SHAPE = types_pb2.Shape(z=20, y=1024, x=1024)
SIZE = types_pb2.VoxelSize(z=50, y=4.6, x=4.6)
DATASET = "projects/default/datasets/liver"


class Known:
    """What a client knows."""

    def __init__(self, classes: int = 1, models: int = 0) -> None:
        self._classes, self._models = classes, models

    def volume(self, name: str) -> storage_pb2.Volume:
        return storage_pb2.Volume(name=name, data_type=types_pb2.DATA_TYPE_UINT8)

    def label_classes(self) -> list[registry_pb2.LabelClass]:
        return [registry_pb2.LabelClass()] * self._classes

    def models(self, limit: int) -> list[registry_pb2.Model]:
        return [registry_pb2.Model()] * min(self._models, limit)


def ended(result: dict[str, Any], **spec: Any) -> jobs_pb2.Job:
    return jobs_pb2.Job(
        name="projects/default/jobs/j",
        state=jobs_pb2.JOB_STATE_SUCCEEDED,
        result=jobs_pb2.JobResult(**result),
        **spec,
    )


def imported(**target: Any) -> jobs_pb2.Job:
    result = jobs_pb2.ImportResult(
        volume="projects/default/volumes/liver-raw", shape=SHAPE, voxel_size=SIZE
    )
    return ended({"import_result": result}, import_spec=jobs_pb2.ImportSpec(**target))


@pytest.mark.parametrize(
    ("known", "following"),
    [
        (Known(), "Next, say what you look for: biosegment class set 1 NAME"),
        (
            Known(classes=2),
            "Next, make a model: biosegment model create NAME --class 0 --class 1",
        ),
        (
            Known(classes=2, models=1),
            (
                "Next, let a model ask for labels: biosegment campaign start NAME --dataset liver "
                "--model MODEL --automatic"
            ),
        ),
    ],
)
def test_an_import_says_what_is_ready_and_what_comes_next(known: Known, following: str) -> None:
    job = imported(dataset=jobs_pb2.DatasetTarget(name=DATASET))
    assert outcomes.sentences(known, job) == [  # type: ignore[arg-type]
        "The data set liver is ready: 20 × 1024 × 1024 voxels of 50 × 4.6 × 4.6 nm, uint8.",
        following,
    ]


@pytest.mark.parametrize(
    ("job", "told"),
    [
        (
            imported(labels=jobs_pb2.LabelsTarget(dataset=DATASET)),
            "The reference labels liver-raw of liver are ready: 20 × 1024 × 1024 voxels of",
        ),
        (
            ended(
                {"export_result": jobs_pb2.ExportResult(path="/d/x.tif", size_bytes=20_971_520)},
                export_spec=jobs_pb2.ExportSpec(),
            ),
            "Wrote /d/x.tif, 20.97 MB.",
        ),
        (
            ended(
                {
                    "train_result": jobs_pb2.TrainResult(
                        version="projects/default/models/mito/versions/3", metrics={"loss": 0.25}
                    )
                },
                train_spec=jobs_pb2.TrainSpec(dataset=DATASET, revision=7),
            ),
            "Made mito/3 from the labels of liver (revision 7): loss 0.25.",
        ),
        (
            ended(
                {
                    "segment_result": jobs_pb2.SegmentResult(
                        volume="projects/default/volumes/liver-mito-1",
                        voxels=20_971_520,
                        entropy_volume="projects/default/volumes/unsure",
                    )
                },
                segment_spec=jobs_pb2.SegmentSpec(
                    segmentation=f"{DATASET}/segmentations/mito-1",
                    version="projects/default/models/mito/versions/3",
                ),
            ),
            (
                "The segmentation liver/mito-1 is ready: 20,971,520 voxels by mito/3. Its "
                "uncertainty is the volume unsure."
            ),
        ),
        (
            ended(
                {"evaluate_result": jobs_pb2.EvaluateResult(metrics={"iou": 0.77}, voxels=1000)},
                evaluate_spec=jobs_pb2.EvaluateSpec(
                    version="projects/default/models/mito/versions/3",
                    dataset=DATASET,
                    reference_volume="projects/default/volumes/truth",
                ),
            ),
            "mito/3 on liver, compared with truth on 1,000 voxels: iou 0.77.",
        ),
        (
            ended(
                {
                    "instances_result": jobs_pb2.InstancesResult(
                        volume="projects/default/volumes/mito", instances=1, dropped=4
                    )
                },
                instances_spec=jobs_pb2.InstancesSpec(
                    segmentation=f"{DATASET}/segmentations/mito-1"
                ),
            ),
            "mito: 1 instance in liver/mito-1. 4 smaller ones were left out.",
        ),
        (
            jobs_pb2.Job(
                name="projects/default/jobs/j",
                kind=jobs_pb2.JOB_KIND_SEGMENT,
                state=jobs_pb2.JOB_STATE_RUNNING,
            ),
            "The segment job j is running. Watch it with: biosegment job watch j",
        ),
        (
            jobs_pb2.Job(name="projects/lab/jobs/j", state=jobs_pb2.JOB_STATE_QUEUED),
            "The job j is queued. Watch it with: biosegment --project lab job watch j",
        ),
        (
            jobs_pb2.Job(name="projects/default/jobs/j", state=jobs_pb2.JOB_STATE_CANCELLED),
            "The job j is cancelled.",
        ),
    ],
)
def test_each_kind_of_job_says_what_it_made(job: jobs_pb2.Job, told: str) -> None:
    assert outcomes.sentences(Known(), job)[0].startswith(told)  # type: ignore[arg-type]


def test_people_get_a_sentence_and_programs_the_job(platform: InMemoryPlatform, run: Run) -> None:
    made = ended(
        {"export_result": jobs_pb2.ExportResult(path="/d/x.tif", size_bytes=5)},
        export_spec=jobs_pb2.ExportSpec(),
        warnings=["It is dark."],
    )
    SHARED.run(platform.jobs.change(state=made.state))
    platform.jobs.job.CopyFrom(made)
    answer = run("job", "watch", "j")
    assert answer.stdout == "Wrote /d/x.tif, 5 B.\n"
    assert "Warning: It is dark." in answer.stderr
    programs = run("job", "watch", "j", "--json")
    assert json.loads(programs.stdout)["result"]["export_result"]["size_bytes"] == 5
    assert "Warning: It is dark." in programs.stderr


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (20_971_520, "20.97 MB"), (3 * 10**15, "3 PB")],
)
def test_amounts_are_read_at_a_glance(count: int, told: str) -> None:
    assert units.size(count) == told


def test_types_of_voxels_are_called_as_numpy_does() -> None:
    types = [types_pb2.DATA_TYPE_UINT8, types_pb2.DATA_TYPE_INT16, types_pb2.DATA_TYPE_FLOAT32]
    assert [units.data_type(each) for each in types] == ["uint8", "int16", "float32"]
    assert [units.voxel_bytes(each) for each in types] == [1, 2, 4]
