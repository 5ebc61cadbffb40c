"""The plan of a training against a real record: what it refuses, tells and fills in."""

import numpy as np
import pytest

from biosegment.client.connection import Connection
from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.client.geometry import shape_of, shape_proto
from biosegment.client.stubs import AsyncStubs
from biosegment.runtime.server import Server
from biosegment.training.plan import plan
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
