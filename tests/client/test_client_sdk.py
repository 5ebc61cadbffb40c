"""The async SDK against servicers behind a real server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from tests.client.sdk_platform import DATASET, FOUND, JOB, PROPOSAL, RAW, InMemoryPlatform

from biosegment.client import AsyncClient, Box, arrays
from biosegment.client.errors import (
    AlreadyExistsError,
    DeadlineError,
    FailedPreconditionError,
    InvalidArgumentError,
    JobCancelledError,
    NotFoundError,
    OutOfMemoryError,
    OutsideVolumeError,
    UnavailableError,
)
from biosegment.client.verbs import annotations
from biosegment.v1 import (
    acquisition_pb2,
    annotations_pb2,
    campaigns_pb2,
    inference_pb2,
    ingest_pb2,
    instances_pb2,
    jobs_pb2,
    registry_pb2,
    storage_pb2,
    training_pb2,
)


@pytest.fixture
async def platform() -> AsyncIterator[InMemoryPlatform]:
    made = InMemoryPlatform()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def client(platform: InMemoryPlatform) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(platform.connection) as made:
        yield made


async def test_lists_follow_pages_up_to_the_limit(
    platform: InMemoryPlatform, client: AsyncClient
) -> None:
    assert [p.name for p in await client.projects()] == [f"projects/p{n:02}" for n in range(25)]
    platform.seen.requests.clear()
    assert len(await client.projects(limit=12)) == 12
    asked = platform.seen.of(registry_pb2.ListProjectsRequest)
    assert [request.page_size for request in asked] == [12, 2]


async def test_a_project_that_exists_is_taken_or_refused(client: AsyncClient) -> None:
    assert (await client.create_project("new")).name == "projects/new"
    with pytest.raises(AlreadyExistsError, match="is taken"):
        await client.create_project("new")
    assert (await client.create_project("new", exist_ok=True)).name == "projects/new"
    with pytest.raises(InvalidArgumentError, match="cannot name a project"):
        await client.create_project("New project")


async def test_reading_takes_boxes_and_whole_levels(client: AsyncClient) -> None:
    box = Box.at((1, 2, 3), (2, 3, 4))
    np.testing.assert_array_equal(await client.read("liver", box), RAW[box.slices])
    np.testing.assert_array_equal(await client.read(DATASET.raw_volume), RAW)
    with pytest.raises(OutsideVolumeError, match="leaves"):
        await client.read("liver", Box.at((1, 2, 3), (2, 3, 40)))
    with pytest.raises(OutsideVolumeError, match="no scale level 3"):
        await client.read("liver", level=3)
    with pytest.raises(InvalidArgumentError, match="split the box"):
        await client.read("liver", max_bytes=RAW.nbytes - 1)
    with pytest.raises(NotFoundError, match="no data set"):
        await client.read("kidney")


async def test_a_volume_that_is_not_complete_is_read_only_by_who_says_so(
    platform: InMemoryPlatform, client: AsyncClient
) -> None:
    platform.storage.state = storage_pb2.VOLUME_STATE_WRITING
    with pytest.raises(FailedPreconditionError, match=r"not complete.*job retry"):
        await client.read(DATASET.raw_volume)
    there = await client.read(DATASET.raw_volume, unfinished=True)
    np.testing.assert_array_equal(there, RAW)


async def test_a_commit_says_all_it_knows(platform: InMemoryPlatform, client: AsyncClient) -> None:
    mask = np.array([[[0, 1], [254, 255]]], np.uint8)
    made = await client.commit(
        "liver",
        Box.from_proto(PROPOSAL.box),
        mask,
        proposal="c/1",
        claimant="ann",
        seconds=2.5,
        strokes=3,
        tool="test",
        base_revision=7,
    )
    assert [each.revision for each in made] == [1]
    (request,) = platform.seen.of(annotations_pb2.CommitAnnotationRequest)
    sent = request.annotation
    assert (request.parent, request.claimant) == (DATASET.name, "ann")
    assert (sent.proposal, sent.strokes, sent.source_tool) == (PROPOSAL.name, 3, "test")
    assert (sent.base_revision, sent.time_spent.ToTimedelta().total_seconds()) == (7, 2.5)
    np.testing.assert_array_equal(arrays.unpack_mask(sent.mask, sent.compression, mask.shape), mask)


async def test_a_large_mask_goes_as_several_commits(
    platform: InMemoryPlatform, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotations, "MAX_MASK_VOXELS", 2000)
    platform.registry.classes = list(range(254))
    box = Box.at((5, 0, 0), (3, 40, 50))
    mask = np.random.default_rng(1).integers(0, 250, box.shape, np.uint8)
    made = await client.commit("liver", box, mask, proposal="c/1", seconds=9, strokes=4)
    requests = platform.seen.of(annotations_pb2.CommitAnnotationRequest)
    assert len(made) == len(requests) == len({request.request_id for request in requests}) > 1
    back = np.zeros(box.stop, int) - 1
    for request in requests:
        piece = Box.from_proto(request.annotation.box)
        assert (back[piece.slices] == -1).all()
        back[piece.slices] = arrays.unpack_mask(
            request.annotation.mask, request.annotation.compression, piece.shape
        )
    np.testing.assert_array_equal(back[box.slices], mask)
    # Time, strokes and the answer count once, when all is durable.
    assert [r.annotation.proposal for r in requests] == [""] * (len(made) - 1) + [PROPOSAL.name]
    assert sum(r.annotation.strokes for r in requests) == 4


async def test_an_import_is_named_after_its_data_set(
    platform: InMemoryPlatform, client: AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await client.import_volume("a.tif", dataset="liver", voxel_size=(30, 4, 4), metadata={"a": "b"})
    await client.import_labels(tmp_path / "b", dataset="projects/other/datasets/liver")
    first, second = platform.seen.of(ingest_pb2.StartImportRequest)
    assert first.spec.source_path == str(tmp_path / "a.tif")
    assert first.spec.volume == "projects/default/volumes/liver-raw"
    assert first.spec.dataset.name == DATASET.name
    assert (first.spec.voxel_size.z, first.spec.voxel_size.x) == (30, 4)
    assert second.parent == "projects/other"
    assert second.spec.labels.dataset == "projects/other/datasets/liver"
    assert second.spec.volume == "projects/other/volumes/liver-reference"
    assert not second.spec.HasField("voxel_size")


async def test_prediction_gives_the_output_asked_for(
    platform: InMemoryPlatform, client: AsyncClient
) -> None:
    box = Box.of_shape((1, 4, 5))
    labels = await client.predict("unet/3", "liver", box)
    several = await client.predict("unet/latest", "liver", box, output="probabilities")
    assert (labels.shape, labels.dtype) == ((1, 4, 5), np.uint8)
    assert (several.shape, several.dtype) == ((2, 1, 4, 5), np.float32)
    first, second = platform.seen.of(inference_pb2.PredictRegionRequest)
    assert first.version == "projects/default/models/unet/versions/3"
    assert second.version == "projects/default/models/unet/versions/latest"


async def test_what_is_not_given_is_not_sent(
    platform: InMemoryPlatform, client: AsyncClient
) -> None:
    await client.start_campaign("c", dataset="liver", model="unet")
    await client.start_campaign(
        "c",
        dataset="liver",
        model="unet",
        strategy_parameters={"power": 2},
        patch=(1, 64, 64),
        region=Box.of_shape((1, 2, 3)),
        evaluate_on=("truth", None),
        automatic=True,
    )
    await client.train("unet", "liver", settings=jobs_pb2.TrainingSettings(steps=5))
    await client.segment("unet/1", "liver", segmentation="first")
    bare, full = (r.campaign for r in platform.seen.of(acquisition_pb2.StartCampaignRequest))
    for field in ("patch", "region", "initial_training", "round_training", "evaluation"):
        assert not bare.HasField(field)
    assert full.strategy.parameters["power"] == 2
    assert full.evaluation.reference_volume == "projects/default/volumes/truth"
    assert not full.evaluation.HasField("box")
    assert (full.patch.z, full.patch.x, full.automatic) == (1, 64, True)
    (training,) = platform.seen.of(training_pb2.StartTrainingRequest)
    assert (training.spec.settings.steps, training.spec.base_version) == (5, "")
    (segmentation,) = platform.seen.of(inference_pb2.StartSegmentationRequest)
    assert segmentation.spec.volume == "projects/default/volumes/liver-first"
    assert segmentation.spec.segmentation == f"{DATASET.name}/segmentations/first"


async def test_a_search_varies_by_factors_where_that_is_usual(
    platform: InMemoryPlatform, client: AsyncClient
) -> None:
    plain = jobs_pb2.SearchParameter(low=2, high=8)
    vary = {"learning_rate": (1e-4, 1e-2), "dice_weight": (0.0, 1.0), "batch_size": plain}
    await client.search("unet", "liver", vary, trials=5, base_version="unet/2", make_version=True)
    (request,) = platform.seen.of(training_pb2.StartSearchRequest)
    spec = request.spec
    assert [(each.name, each.logarithmic) for each in spec.parameters] == [
        ("learning_rate", True),
        ("dice_weight", False),
        ("batch_size", False),
    ]
    assert (spec.trials, spec.make_version) == (5, True)
    assert spec.training.base_version == "projects/default/models/unet/versions/2"
    assert not spec.training.HasField("settings")
    assert await client.search_result("j") == FOUND
    assert await client.training_logs() == "/store/default/objects/jobs"


async def test_proposals_are_lent_and_returned(
    platform: InMemoryPlatform, client: AsyncClient
) -> None:
    assert await client.claim("c", "ann", count=2, lease_seconds=60) == [PROPOSAL]
    await client.release("c/1", "ann")
    await client.skip(PROPOSAL.name, "ann")
    (claimed,) = platform.seen.of(campaigns_pb2.ClaimProposalsRequest)
    assert (claimed.count, claimed.lease.seconds) == (2, 60)
    returned = platform.seen.of(campaigns_pb2.ReturnProposalRequest)
    assert [(each.name, each.skip) for each in returned] == [
        (PROPOSAL.name, False),
        (PROPOSAL.name, True),
    ]


async def test_waiting_survives_a_restart_of_the_registry(
    platform: InMemoryPlatform, client: AsyncClient
) -> None:
    seen: list[int] = []
    waiting = asyncio.create_task(client.wait(JOB, lambda job: seen.append(job.progress.done)))
    await platform.jobs.watched()
    await platform.jobs.change(
        state=jobs_pb2.JOB_STATE_RUNNING, progress=jobs_pb2.Progress(done=1, total=2)
    )
    await platform.stop()
    await platform.jobs.change(progress=jobs_pb2.Progress(done=2, total=2))
    await platform.start()
    await platform.jobs.watched()
    await platform.jobs.change(state=jobs_pb2.JOB_STATE_SUCCEEDED)
    job = await asyncio.wait_for(waiting, 30)
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert seen[0] == 0
    assert seen[-1] == 2


async def test_a_failed_job_raises_what_it_failed_with(
    platform: InMemoryPlatform, client: AsyncClient
) -> None:
    error = jobs_pb2.JobError(
        reason="OUT_OF_MEMORY", message="Too little memory.", metadata={"device": "cpu"}
    )
    await platform.jobs.change(state=jobs_pb2.JOB_STATE_FAILED, error=error)
    with pytest.raises(OutOfMemoryError, match="Too little memory") as caught:
        await client.wait("j")
    assert caught.value.metadata == {"device": "cpu", "job": JOB}


async def test_a_cancelled_job_raises_and_a_partial_one_does_not(
    platform: InMemoryPlatform, client: AsyncClient
) -> None:
    assert (await client.cancel("j")).state == jobs_pb2.JOB_STATE_CANCELLED
    with pytest.raises(JobCancelledError, match="was cancelled"):
        await client.wait("j")
    await platform.jobs.change(state=jobs_pb2.JOB_STATE_PARTIALLY_SUCCEEDED)
    assert (await client.wait("j")).state == jobs_pb2.JOB_STATE_PARTIALLY_SUCCEEDED


async def test_waiting_goes_on_through_a_pause(
    platform: InMemoryPlatform, client: AsyncClient
) -> None:
    seen: list[int] = []
    assert (await client.pause("j")).state == jobs_pb2.JOB_STATE_PAUSED
    waiting = asyncio.create_task(client.wait("j", lambda job: seen.append(job.state)))
    await platform.jobs.watched()
    assert (await client.resume("j")).state == jobs_pb2.JOB_STATE_RUNNING
    await platform.jobs.change(state=jobs_pb2.JOB_STATE_SUCCEEDED)
    assert (await asyncio.wait_for(waiting, 30)).state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert seen[0] == jobs_pb2.JOB_STATE_PAUSED


async def test_waiting_ends_with_its_timeout_not_the_job(
    platform: InMemoryPlatform, client: AsyncClient
) -> None:
    with pytest.raises(DeadlineError, match="it goes on"):
        await client.wait("j", timeout=0.2)
    assert (await client.job("j")).state == jobs_pb2.JOB_STATE_QUEUED
    with pytest.raises(NotFoundError, match="no job"):
        await client.wait("other")


async def test_a_registry_that_stays_away_is_not_waited_for_for_ever(
    platform: InMemoryPlatform, client: AsyncClient
) -> None:
    await platform.stop()
    with pytest.raises(UnavailableError, match="The registry service"):
        await anext(client.watch(JOB, patience=0.1))


def test_a_project_name_is_checked_before_anything_is_sent(tmp_path: Path) -> None:
    from biosegment.client import Connection

    with pytest.raises(InvalidArgumentError, match="cannot name a project"):
        AsyncClient(Connection(token="", addresses={}), project="../x")


@pytest.mark.parametrize(
    ("source", "field", "full"),
    [
        ("liver/mito-1", "segmentation", "projects/default/datasets/liver/segmentations/mito-1"),
        (
            "projects/p/datasets/d/segmentations/s",
            "segmentation",
            "projects/p/datasets/d/segmentations/s",
        ),
        ("liver-labels", "source_volume", "projects/default/volumes/liver-labels"),
        ("projects/p/volumes/v", "source_volume", "projects/p/volumes/v"),
    ],
)
async def test_instances_are_found_in_segmentations_and_in_volumes(
    platform: InMemoryPlatform, client: AsyncClient, source: str, field: str, full: str
) -> None:
    job = await client.instances(
        source, volume="mito", classes=[1], split_nm=30.0, block=(8, 64, 64)
    )
    assert job.name == JOB
    (request,) = platform.seen.of(instances_pb2.StartInstancesRequest)
    assert (getattr(request.spec, field), request.parent) == (full, "/".join(full.split("/")[:2]))
    assert request.spec.volume == "projects/default/volumes/mito"
    assert (list(request.spec.classes), request.spec.split_nm, request.spec.block.y) == (
        [1],
        30,
        64,
    )


async def test_a_table_comes_whole(platform: InMemoryPlatform, client: AsyncClient) -> None:
    assert await client.instance_table("mito", format="parquet") == b'"id"\n1\n'
    (request,) = platform.seen.of(instances_pb2.ReadInstanceTableRequest)
    assert request.format == instances_pb2.TABLE_FORMAT_PARQUET
