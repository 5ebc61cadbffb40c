"""What may be taken for the truth, and what is said of it, against a real record."""

import pytest

from biosegment.client.connection import Connection
from biosegment.client.errors import FailedPreconditionError
from biosegment.client.geometry import Box, shape_proto
from biosegment.client.stubs import AsyncStubs
from biosegment.inference.evaluation import plan
from biosegment.runtime.server import Server
from biosegment.v1 import jobs_pb2, registry_pb2, storage_pb2, storage_pb2_grpc, types_pb2
from tests.registry.record_kit import DATASET, PROJECT, SHA256, SHAPE, open_record

NETWORK = f"{PROJECT}/models/net"
LABELS, IMAGE = storage_pb2.VOLUME_KIND_LABELS, storage_pb2.VOLUME_KIND_IMAGE
ANNOTATIONS = f"{DATASET.replace('datasets', 'volumes')}-labels"


def volume(short, shape=SHAPE, kind=LABELS, **more):
    return storage_pb2.Volume(
        name=f"{PROJECT}/volumes/{short}",
        kind=kind,
        state=storage_pb2.VOLUME_STATE_READY,
        levels=[storage_pb2.VolumeLevel(shape=shape_proto(shape))],
        **{"data_type": types_pb2.DATA_TYPE_UINT8, **more},
    )


class Storage(storage_pb2_grpc.StorageServiceServicer):
    """Some volumes."""

    volumes = (
        volume("d", kind=IMAGE),
        volume("other", kind=IMAGE),
        volume("truth"),
        volume("d-labels"),
        volume("made"),
        volume("elsewhere"),
        volume("thin", (3, 32, 32)),
        volume("ids", data_type=types_pb2.DATA_TYPE_UINT32),
        volume("channels", channels=2),
    )

    async def GetVolume(self, request, context):
        (found,) = [known for known in self.volumes if known.name == request.name]
        return storage_pb2.GetVolumeResponse(volume=found)


async def train(record, dataset, base=""):
    answer = await record.apply(
        "train",
        jobs_pb2.TrainResult(weights=f"{PROJECT}/objects/w", sha256=SHA256),
        train_spec=jobs_pb2.TrainSpec(model=NETWORK, dataset=dataset, base_version=base),
    )
    return answer.train_result.version


@pytest.fixture
async def record(tmp_path):
    """A version 1 of another data set, 2 of this one, 3 fine-tuned from 2 on the other one."""
    server = Server("127.0.0.1:0", "token")
    server.add(
        storage_pb2_grpc.add_StorageServiceServicer_to_server,
        Storage(),
        "biosegment.v1.StorageService",
    )
    await server.start()
    async with open_record(tmp_path) as made:
        await made.seed()
        await made.import_dataset("other")
        model = registry_pb2.Model(name=NETWORK, architecture="unet2d-quarter", classes=[0, 1])
        await made.stubs.registry.CreateModel(registry_pb2.CreateModelRequest(model=model))
        labels = jobs_pb2.ImportSpec(
            volume=f"{PROJECT}/volumes/truth", labels=jobs_pb2.LabelsTarget(dataset=DATASET)
        )
        result = jobs_pb2.ImportResult(volume=labels.volume, shape=shape_proto(SHAPE))
        await made.apply("labels", result, import_spec=labels)
        await train(made, f"{PROJECT}/datasets/other")
        second = await train(made, DATASET)
        await train(made, f"{PROJECT}/datasets/other", second)
        spec = jobs_pb2.SegmentSpec(
            dataset=DATASET,
            version=second,
            segmentation=f"{DATASET}/segmentations/s",
            volume=f"{PROJECT}/volumes/made",
        )
        await made.apply("segment", jobs_pb2.SegmentResult(), segment_spec=spec)
        addresses = {**made.connection.addresses, "storage": f"127.0.0.1:{server.port}"}
        async with AsyncStubs(Connection(token="token", addresses=addresses)) as stubs:
            made.stubs = stubs
            yield made
    await server.stop(0)


async def told(record, truth, number=1):
    spec = jobs_pb2.EvaluateSpec(
        version=f"{NETWORK}/versions/{number}",
        dataset=DATASET,
        reference_volume=f"{PROJECT}/volumes/{truth}" if truth else "",
        box=Box.of_shape((1, 8, 8)).to_proto(),
    )
    made, warnings = await plan(record.stubs, PROJECT, spec, 1 << 30)
    assert made.reference_volume == f"{PROJECT}/volumes/{truth or 'truth'}"
    return list(warnings)


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        ("d", "holds no class values, so it cannot be taken for the truth"),
        ("other", "holds no class values"),
        ("ids", "holds no class values"),
        ("channels", "holds no class values"),
        ("thin", r"has 3 × 32 × 32 voxels .* has 4 × 32 × 32"),
    ],
)
async def test_what_is_no_truth_is_refused(record, truth, words):
    with pytest.raises(FailedPreconditionError, match=words):
        await told(record, truth)


async def test_of_reference_labels_nothing_is_said(record):
    assert await told(record, "truth") == []
    assert await told(record, "") == []


async def test_a_segmentation_taken_for_the_truth_is_told(record):
    (sentence,) = await told(record, "made")
    assert f"segmentation that {NETWORK}/versions/2 made, not labels of people" in sentence


async def test_labels_of_something_else_are_told(record):
    (sentence,) = await told(record, "elsewhere")
    assert f"does not belong to {DATASET}" in sentence


async def test_annotations_taken_for_the_truth_are_told_and_whether_they_were_learnt(record):
    (changes,) = await told(record, "d-labels", 1)
    assert "changes as people annotate" in changes
    for number in (2, 3):
        again, learnt = await told(record, "d-labels", number)
        assert again == changes
        assert f"versions/{number} has learnt from annotations of {DATASET}" in learnt
