"""The plan of a training against a real record: what it refuses, tells and fills in."""

import numpy as np
import pytest

from biosegment.client.connection import Connection
from biosegment.client.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    OutsideVolumeError,
)
from biosegment.client.geometry import Box, shape_of, shape_proto
from biosegment.client.stubs import AsyncStubs
from biosegment.runtime.server import Server
from biosegment.training.plan import plan
from biosegment.training.worker import _cut_short
from biosegment.v1 import jobs_pb2, registry_pb2, storage_pb2, storage_pb2_grpc, types_pb2
from tests.registry.record_kit import DATASET, PROJECT, open_record

NETWORK = f"{PROJECT}/models/net"


class Storage(storage_pb2_grpc.StorageServiceServicer):
    """Says of every volume that it is one of 8 bit."""

    async def GetVolume(self, request, context):
        volume = storage_pb2.Volume(name=request.name, data_type=types_pb2.DATA_TYPE_UINT8)
        return storage_pb2.GetVolumeResponse(volume=volume)


@pytest.fixture
async def record(tmp_path):
    server = Server("127.0.0.1:0", "token")
    server.add(
        storage_pb2_grpc.add_StorageServiceServicer_to_server,
        Storage(),
        "biosegment.v1.StorageService",
    )
    await server.start()
    async with open_record(tmp_path) as made:
        await made.seed()
        model = registry_pb2.Model(name=NETWORK, architecture="unet2d-quarter", classes=[0, 1])
        await made.stubs.registry.CreateModel(registry_pb2.CreateModelRequest(model=model))
        addresses = {**made.connection.addresses, "storage": f"127.0.0.1:{server.port}"}
        async with AsyncStubs(Connection(token="token", addresses=addresses)) as stubs:
            made.stubs = stubs
            yield made
    await server.stop(0)


async def planned(record, patch=None, **more):
    settings = jobs_pb2.TrainingSettings(patch=None if patch is None else shape_proto(patch))
    spec = jobs_pb2.TrainSpec(model=NETWORK, dataset=DATASET, settings=settings, **more)
    return await plan(record.stubs, PROJECT, "r", spec)


async def label(record, *values):
    mask = np.full((1, 32, 32), 255, np.uint8)
    mask[0, : len(values), 0] = values
    await record.commit(mask)


async def test_labels_of_every_class_are_taken_without_a_word(record):
    await label(record, 0, 1)
    made = await planned(record)
    assert (made.spec.revision, made.warnings) == (1, [])


async def test_labels_of_background_alone_are_refused_at_the_start(record):
    await label(record, 0)
    with pytest.raises(FailedPreconditionError, match=r"class 0 \(background\) alone"):
        await planned(record)
    await label(record, 2)
    with pytest.raises(FailedPreconditionError, match="alone"):
        await planned(record)
    await label(record, 1)
    assert (await planned(record)).warnings == []
    with pytest.raises(FailedPreconditionError, match=r"Revision 2 .* alone"):
        await planned(record, revision=2)


async def test_a_round_of_a_campaign_is_told_and_goes_on(record):
    await label(record, 0)
    (told,) = (await planned(record, round=f"{PROJECT}/campaigns/c/rounds/1")).warnings
    assert "No voxel of class 1" in told


async def test_no_labels_at_all_are_refused(record):
    with pytest.raises(FailedPreconditionError, match="holds no labels"):
        await planned(record)
    await label(record, 2)
    with pytest.raises(FailedPreconditionError, match="holds no labels"):
        await planned(record)


@pytest.mark.parametrize("patch", [(1, 1024, 1024), (1, 64, 32), (1, 32, 64), (8, 32, 32)])
async def test_a_patch_that_the_data_set_cannot_fill_is_refused_at_the_start(record, patch):
    await label(record, 0, 1)
    with pytest.raises(InvalidArgumentError, match=r"larger than .*4 × 32 × 32.*--patch"):
        await planned(record, patch)


async def test_the_patch_that_the_refusal_names_is_taken(record):
    await label(record, 0, 1)
    with pytest.raises(InvalidArgumentError) as refused:
        await planned(record, (1, 1024, 64))
    named = refused.value.message.rpartition("--patch ")[2].partition(" ")[0]
    made = await planned(record, tuple(map(int, named.split(","))))
    assert shape_of(made.spec.settings.patch) == (1, 32, 32)


async def test_the_default_patch_is_smaller_in_a_small_data_set(record):
    await label(record, 0, 1)
    assert shape_of((await planned(record)).spec.settings.patch) == (1, 32, 32)
    restored = await planned(record, objective=jobs_pb2.TRAINING_OBJECTIVE_RESTORATION)
    assert shape_of(restored.spec.settings.patch) == (1, 32, 32)


async def based(record, *boxes):
    """The plan of a training that measures a version on boxes first."""
    await label(record, 0, 1)
    answer = await record.apply(
        "train",
        jobs_pb2.TrainResult(weights=f"{PROJECT}/objects/w", sha256="0" * 64),
        train_spec=jobs_pb2.TrainSpec(model=NETWORK, dataset=DATASET),
    )
    version = answer.train_result.version
    return await planned(record, base_version=version, fresh=[box.to_proto() for box in boxes])


async def test_boxes_to_measure_on_are_kept(record):
    box = Box((0, 0, 0), (1, 16, 16))
    assert list((await based(record, box)).spec.fresh) == [box.to_proto()]


async def test_boxes_to_measure_on_lie_in_the_data_set(record):
    with pytest.raises(OutsideVolumeError):
        await based(record, Box((0, 0, 0), (1, 16, 99)))


async def test_boxes_to_measure_on_fit_into_memory(record, monkeypatch):
    monkeypatch.setattr("biosegment.training.plan._MOST_FRESH_VOXELS", 300)
    with pytest.raises(InvalidArgumentError, match="512 voxels are more"):
        await based(record, *[Box((z, 0, 0), (z + 1, 16, 16)) for z in (0, 1)])


async def test_without_a_version_there_is_nothing_to_measure(record):
    await label(record, 0, 1)
    with pytest.raises(InvalidArgumentError, match="no version to measure"):
        await planned(record, fresh=[Box((0, 0, 0), (1, 16, 16)).to_proto()])


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
async def test_a_bound_in_time_is_a_number_of_seconds(record, seconds):
    await label(record, 0, 1)
    settings = jobs_pb2.TrainingSettings(max_seconds=seconds)
    spec = jobs_pb2.TrainSpec(model=NETWORK, dataset=DATASET, settings=settings)
    with pytest.raises(InvalidArgumentError, match="max_seconds"):
        await plan(record.stubs, PROJECT, "r", spec)


def result(steps, **metrics):
    settings = jobs_pb2.TrainingSettings(steps=1000, max_seconds=480)
    return jobs_pb2.TrainResult(settings=settings, metrics={"steps": steps, **metrics})


def test_a_training_with_too_little_time_says_so():
    (warning,) = _cut_short(result(120, out_of_time=1))
    assert "120 of 1000 steps" in warning
    assert "480 s" in warning


def test_one_that_took_most_of_its_steps_or_was_asked_to_end_does_not():
    assert _cut_short(result(800, out_of_time=1)) == []
    assert _cut_short(result(120, finished_early=1)) == []
    assert _cut_short(result(1000)) == []
