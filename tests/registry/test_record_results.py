from typing import Any

import pytest
from sqlalchemy import create_mock_engine
from sqlalchemy.dialects import postgresql

from biosegment.client.errors import (
    AbortedError,
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    OutsideVolumeError,
)
from biosegment.client.geometry import Box, shape_proto
from biosegment.registry.database import Base
from biosegment.registry.results import apply_result
from biosegment.v1 import campaigns_pb2, events_pb2, registry_pb2, types_pb2
from biosegment.v1 import jobs_pb2 as pb
from tests.registry.record_kit import CAMPAIGN, DATASET, MODEL, PROJECT, SHA256, SHAPE, Record

LABELS = f"{PROJECT}/volumes/gt"


def _import(**result: Any) -> pb.ImportResult:
    good: dict[str, Any] = {
        "shape": shape_proto(SHAPE),
        "voxel_size": types_pb2.VoxelSize(z=1, y=1, x=1),
    }
    return pb.ImportResult(**{**good, **result})


async def test_an_import_makes_a_data_set(record: Record) -> None:
    (event,) = await record.events("dataset.created")
    assert events_pb2.DatasetCreated.FromString(event).dataset == DATASET
    with pytest.raises(AlreadyExistsError, match='There is a data set "d" already'):
        await record.import_dataset("d")
    assert len(await record.events("dataset.created")) == 1


@pytest.mark.parametrize(
    ("name", "result", "error", "sentence"),
    [
        ("projects/none/datasets/e", {}, NotFoundError, "no project"),
        (f"{PROJECT}/datasets/{'e' * 60}", {}, InvalidArgumentError, "label volume"),
        ("e", {}, InvalidArgumentError, "is not the full name"),
        (
            f"{PROJECT}/datasets/e",
            {"shape": shape_proto((0, 1, 1))},
            InvalidArgumentError,
            "of no",
        ),
        (
            f"{PROJECT}/datasets/e",
            {"voxel_size": types_pb2.VoxelSize(z=50, y=float("nan"), x=4)},
            InvalidArgumentError,
            "voxel size",
        ),
    ],
)
async def test_imports_that_make_no_data_set_are_refused(
    record: Record, name: str, result: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    spec = pb.ImportSpec(volume=f"{PROJECT}/volumes/e", dataset=pb.DatasetTarget(name=name))
    with pytest.raises(error, match=sentence):
        await record.apply("j", _import(**result), import_spec=spec)


async def test_labels_join_their_data_set(record: Record) -> None:
    spec = pb.ImportSpec(volume=LABELS, labels=pb.LabelsTarget(dataset=DATASET))
    await record.apply("j", _import(), import_spec=spec)
    assert list((await record.dataset()).reference_volumes) == [LABELS]
    with pytest.raises(FailedPreconditionError, match=r"4 × 32 × 31 voxels .* has 4 × 32 × 32"):
        await record.apply("j", _import(shape=shape_proto((4, 32, 31))), import_spec=spec)
    spec.labels.dataset = f"{PROJECT}/datasets/none"
    with pytest.raises(NotFoundError, match="no data set"):
        await record.apply("j", _import(), import_spec=spec)


async def test_training_makes_the_next_version(record: Record) -> None:
    assert await record.train("one") == f"{MODEL}/versions/1"
    second = await record.train("two")
    assert second == f"{MODEL}/versions/2"
    got = await record.stubs.registry.GetModelVersion(
        registry_pb2.GetModelVersionRequest(name=second)
    )
    assert got.version.job == f"{PROJECT}/jobs/two"
    assert got.version.weights == f"{PROJECT}/objects/two.safetensors"
    assert got.version.sha256 == SHA256
    assert dict(got.version.metrics) == {"loss": 0.5}, "what is no number is left out"
    events = await record.events("model_version.created")
    assert [events_pb2.ModelVersionCreated.FromString(e).version[-1] for e in events] == ["1", "2"]


@pytest.mark.parametrize(
    ("spec", "result", "error", "sentence"),
    [
        ({"model": f"{PROJECT}/models/x"}, {}, NotFoundError, "no model"),
        ({"dataset": f"{PROJECT}/datasets/x"}, {}, NotFoundError, "no data set"),
        ({"revision": 3}, {}, InvalidArgumentError, "Revision 3"),
        ({"base_version": f"{MODEL}/versions/8"}, {}, NotFoundError, "no model version"),
        ({}, {"weights": ""}, InvalidArgumentError, "must name its weights"),
        ({}, {"sha256": "abc"}, InvalidArgumentError, "SHA-256"),
    ],
)
async def test_trainings_that_make_no_version_are_refused(
    record: Record,
    spec: dict[str, Any],
    result: dict[str, Any],
    error: type[Exception],
    sentence: str,
) -> None:
    good = {"weights": f"{PROJECT}/objects/w", "sha256": SHA256}
    with pytest.raises(error, match=sentence):
        await record.apply(
            "j",
            pb.TrainResult(**{**good, **result}),
            train_spec=pb.TrainSpec(**{"model": MODEL, "dataset": DATASET, **spec}),
        )
    assert not await record.events("model_version.created")


async def test_the_best_trial_of_a_search_becomes_a_version(record: Record) -> None:
    spec = pb.SearchSpec(training=pb.TrainSpec(model=MODEL, dataset=DATASET))
    weights = pb.TrainResult(weights=f"{PROJECT}/objects/w", sha256=SHA256, metrics={"iou": 0.7})
    result = pb.SearchResult(trials=[pb.Trial(iou=0.7)], best_trial=0)
    none = await record.apply("searched", result, search_spec=spec)
    assert none.search_result == result
    assert not await record.events("model_version.created")
    result.train_result.CopyFrom(weights)
    made = (await record.apply("search", result, search_spec=spec)).search_result
    request = registry_pb2.GetModelVersionRequest(name=made.train_result.version)
    version = (await record.stubs.registry.GetModelVersion(request)).version
    assert (version.job, dict(version.metrics)) == (f"{PROJECT}/jobs/search", {"iou": 0.7})
    result.train_result.sha256 = "abc"
    with pytest.raises(InvalidArgumentError, match="SHA-256"):
        await record.apply("again", result, search_spec=spec)


async def test_a_retried_segmentation_becomes_complete(record: Record) -> None:
    spec = pb.SegmentSpec(
        dataset=DATASET,
        version=await record.train(),
        volume=f"{PROJECT}/volumes/s",
        segmentation=f"{DATASET}/segmentations/s",
    )

    async def listed() -> list[registry_pb2.Segmentation]:
        request = registry_pb2.ListSegmentationsRequest(parent=DATASET)
        return list((await record.stubs.registry.ListSegmentations(request)).segmentations)

    await record.apply("j", pb.SegmentResult(), complete=False, segment_spec=spec)
    (made,) = await listed()
    assert (made.complete, made.job, made.version) == (False, f"{PROJECT}/jobs/j", spec.version)
    await record.apply("j", pb.SegmentResult(), segment_spec=spec)
    assert [s.complete for s in await listed()] == [True]
    with pytest.raises(AlreadyExistsError, match="made by projects/p/jobs/j"):
        await record.apply("k", pb.SegmentResult(), segment_spec=spec)
    spec.segmentation = f"{PROJECT}/datasets/d2/segmentations/s"
    with pytest.raises(InvalidArgumentError, match="not a segmentation of"):
        await record.apply("k", pb.SegmentResult(), segment_spec=spec)


async def test_a_version_keeps_what_its_training_warned_of(record: Record) -> None:
    spec = pb.TrainSpec(model=MODEL, dataset=DATASET)
    weights = pb.TrainResult(weights=f"{PROJECT}/objects/w.safetensors", sha256=SHA256)
    job = pb.Job(name=f"{PROJECT}/jobs/j", train_spec=spec, warnings=["known at the start"])
    met = ["met by the work", "known at the start", "x" * 2000]
    async with record.database.write() as session:
        result = pb.JobResult(train_result=weights, warnings=met)
        made = await apply_result(session, job, result, complete=True)
    assert list(made.warnings) == ["met by the work", "x" * 1000]
    request = registry_pb2.GetModelVersionRequest(name=made.train_result.version)
    version = (await record.stubs.registry.GetModelVersion(request)).version
    assert list(version.warnings) == ["known at the start", "met by the work", "x" * 1000]


def evaluation(version: str, volume: str = "truth", **more: Any) -> pb.EvaluateSpec:
    spec = pb.EvaluateSpec(
        version=version, dataset=DATASET, reference_volume=f"{PROJECT}/volumes/{volume}"
    )
    spec.MergeFrom(pb.EvaluateSpec(**more))
    return spec


async def version_of(record: Record, name: str) -> registry_pb2.ModelVersion:
    request = registry_pb2.GetModelVersionRequest(name=name)
    return (await record.stubs.registry.GetModelVersion(request)).version


async def test_figures_go_to_an_evaluation_and_the_round(record: Record) -> None:
    version = await record.train()
    await record.start_campaign()
    await record.open_round(1, version)
    await record.apply(
        "j",
        pb.EvaluateResult(metrics={"iou": 0.8, "iou_1": float("nan")}, voxels=9),
        evaluate_spec=evaluation(version, round=f"{CAMPAIGN}/rounds/1"),
    )
    got = await version_of(record, version)
    assert dict(got.metrics) == {"loss": 0.5}
    (measured,) = got.evaluations
    assert (measured.dataset, measured.reference_volume) == (DATASET, f"{PROJECT}/volumes/truth")
    assert (dict(measured.metrics), measured.voxels) == ({"iou": 0.8}, 9)
    assert Box.from_proto(measured.box) == Box.of_shape(SHAPE)
    assert measured.job == f"{PROJECT}/jobs/j"
    name = f"{CAMPAIGN}/rounds/1"
    found = await record.stubs.campaigns.GetRound(campaigns_pb2.GetRoundRequest(name=name))
    assert dict(found.round.metrics) == {"iou": 0.8}
    with pytest.raises(NotFoundError, match="no round"):
        await record.apply(
            "j",
            pb.EvaluateResult(),
            evaluate_spec=evaluation(version, round=f"{CAMPAIGN}/rounds/2"),
        )


async def test_what_is_measured_elsewhere_overwrites_nothing(record: Record) -> None:
    version = await record.train()
    await record.import_dataset("other", (2, 8, 8))
    other, half = f"{PROJECT}/datasets/other", Box.of_shape((2, 32, 32)).to_proto()
    measured = {
        0.7: evaluation(version),
        0.1: evaluation(version, dataset=other),
        0.2: evaluation(version, box=half),
        0.3: evaluation(version, "made"),
    }
    for iou, spec in measured.items():
        result = pb.EvaluateResult(metrics={"iou": iou})
        await record.apply(f"j{iou}", result, evaluate_spec=spec)
    # The same voxels measured again: the newer figures stand.
    await record.apply(
        "again", pb.EvaluateResult(metrics={"iou": 0.9}), evaluate_spec=measured[0.7]
    )
    got = await version_of(record, version)
    assert dict(got.metrics) == {"loss": 0.5}
    assert [each.metrics["iou"] for each in got.evaluations] == [0.9, 0.3, 0.2, 0.1]
    assert got.evaluations[3].dataset == other
    assert got.evaluations[0].job == f"{PROJECT}/jobs/again"
    request = registry_pb2.ListModelVersionsRequest(parent=MODEL)
    (listed,) = (await record.stubs.registry.ListModelVersions(request)).versions
    assert listed == got


async def test_an_evaluation_keeps_its_warnings(record: Record) -> None:
    version = await record.train()
    job = pb.Job(name=f"{PROJECT}/jobs/j", evaluate_spec=evaluation(version), warnings=["at first"])
    async with record.database.write() as session:
        result = pb.JobResult(evaluate_result=pb.EvaluateResult(), warnings=["at last"])
        await apply_result(session, job, result, complete=True)
    (measured,) = (await version_of(record, version)).evaluations
    assert list(measured.warnings) == ["at first", "at last"]


async def test_the_newest_evaluations_of_many_are_told(record: Record) -> None:
    version = await record.train()
    for z in range(4):
        for y in range(6):
            box = Box.at((z, y, 0), (1, 1, 32)).to_proto()
            result = pb.EvaluateResult(metrics={"iou": (z * 6 + y) / 100})
            await record.apply("j", result, evaluate_spec=evaluation(version, box=box))
    told = (await version_of(record, version)).evaluations
    assert [round(each.metrics["iou"] * 100) for each in told] == list(range(23, 3, -1))


async def test_an_evaluation_outside_of_its_data_set_is_refused(record: Record) -> None:
    version = await record.train()
    box = Box.of_shape((5, 32, 32)).to_proto()
    with pytest.raises(OutsideVolumeError):
        await record.apply("j", pb.EvaluateResult(), evaluate_spec=evaluation(version, box=box))
    with pytest.raises(NotFoundError, match="no data set"):
        await record.apply(
            "j",
            pb.EvaluateResult(),
            evaluate_spec=evaluation(version, dataset=f"{PROJECT}/datasets/gone"),
        )


async def test_a_ranking_opens_the_round_to_people(record: Record) -> None:
    await record.start_campaign()
    await record.open_round()
    await record.propose()
    (event,) = await record.events("round.proposed")
    assert events_pb2.RoundProposed.FromString(event).round == f"{CAMPAIGN}/rounds/1"
    with pytest.raises(AbortedError, match="is ANNOTATING and takes no more proposals"):
        await record.propose()
    assert len(await record.proposals()) == 4


@pytest.mark.parametrize(
    ("patches", "error", "sentence"),
    [
        ([], FailedPreconditionError, "chose no patch out of 100"),
        ([(Box((0, 0, 0), (9, 8, 8)), 1.0)], OutsideVolumeError, "leaves the data set"),
        ([(Box((0, 0, 0), (1, 8, 8), 2), 1.0)], InvalidArgumentError, "level 0"),
        ([(Box((0, 0, 0), (1, 8, 8)), float("nan"))], InvalidArgumentError, "score nan"),
    ],
)
async def test_rankings_that_propose_nothing_usable_are_refused(
    record: Record, patches: list[tuple[Box, float]], error: type[Exception], sentence: str
) -> None:
    await record.start_campaign()
    await record.open_round()
    ranked = [pb.RankedPatch(box=box.to_proto(), score=score) for box, score in patches]
    with pytest.raises(error, match=sentence):
        await record.apply(
            "j",
            pb.RankResult(patches=ranked, candidates=100),
            rank_spec=pb.RankSpec(round=f"{CAMPAIGN}/rounds/1"),
        )
    assert not await record.proposals()
    assert not await record.events("round.proposed")


async def test_a_result_must_answer_its_spec(record: Record) -> None:
    job = pb.Job(name=f"{PROJECT}/jobs/j", export_spec=pb.ExportSpec())

    async with record.database.write() as session:
        answer = pb.JobResult(export_result=pb.ExportResult(path="/x"))
        assert await apply_result(session, job, answer, complete=True) == answer
        for wrong in (pb.JobResult(), pb.JobResult(rank_result=pb.RankResult())):
            with pytest.raises(InvalidArgumentError, match="does not answer"):
                await apply_result(session, job, wrong, complete=True)


def test_the_tables_are_made_on_postgresql_too() -> None:
    statements: list[str] = []

    def note(statement: Any, *_: Any, **__: Any) -> None:
        statements.append(str(statement.compile(dialect=postgresql.dialect())))

    engine = create_mock_engine("postgresql+psycopg://", note)
    Base.metadata.create_all(engine, checkfirst=False)
    text = "\n".join(statements)
    assert "CREATE TABLE annotation" in text
    assert "BYTEA" in text
    assert "TIMESTAMP WITH TIME ZONE" in text
