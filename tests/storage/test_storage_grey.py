"""Grey values of volumes: kept once, with what makes the volume complete or afterwards."""

import pytest

from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.v1 import storage_pb2, types_pb2

GREY = types_pb2.GreyStatistics(
    quantiles=[1, 5, 25, 50, 75, 95, 99], left_out=0.25, voxels=100, padding=[0]
)


@pytest.mark.parametrize("volume_format", [1, 2])
async def test_grey_values_come_with_the_end_of_an_import_and_stay(
    platform, describe, volume_format
):
    storage = platform.stubs.storage
    request = storage_pb2.CreateVolumeRequest(
        volume=describe(shape=(4, 40, 40), format=volume_format), request_id="r"
    )
    name = (await storage.CreateVolume(request)).volume.name
    with pytest.raises(FailedPreconditionError, match="still being written"):
        await storage.RecordGreyStatistics(
            storage_pb2.RecordGreyStatisticsRequest(name=name, grey=GREY)
        )
    finish = storage_pb2.FinishVolumeRequest(name=name, grey=GREY)
    assert (await storage.FinishVolume(finish)).volume.grey == GREY
    other = types_pb2.GreyStatistics(voxels=7)
    for again in (
        (await storage.FinishVolume(storage_pb2.FinishVolumeRequest(name=name, grey=other))),
        (
            await storage.RecordGreyStatistics(
                storage_pb2.RecordGreyStatisticsRequest(name=name, grey=other)
            )
        ),
        (await storage.CreateVolume(request)),
        (await storage.GetVolume(storage_pb2.GetVolumeRequest(name=name))),
    ):
        assert again.volume.grey == GREY


async def test_the_first_to_measure_a_volume_of_before_is_believed(platform, describe):
    storage = platform.stubs.storage
    volume = describe(shape=(4, 40, 40))
    await storage.CreateVolume(storage_pb2.CreateVolumeRequest(volume=volume))
    made = await storage.FinishVolume(storage_pb2.FinishVolumeRequest(name=volume.name))
    assert not made.volume.HasField("grey")
    for grey in (GREY, types_pb2.GreyStatistics(voxels=7)):
        record = storage_pb2.RecordGreyStatisticsRequest(name=volume.name, grey=grey)
        assert (await storage.RecordGreyStatistics(record)).volume.grey == GREY


@pytest.mark.parametrize(
    "grey",
    [
        types_pb2.GreyStatistics(quantiles=[1, 2]),
        types_pb2.GreyStatistics(quantiles=[7, 6, 5, 4, 3, 2, 1]),
        types_pb2.GreyStatistics(quantiles=[1, 2, 3, 4, 5, 6, float("nan")]),
        types_pb2.GreyStatistics(left_out=1.5),
        types_pb2.GreyStatistics(padding=range(11)),
    ],
)
async def test_grey_values_that_make_no_sense_are_refused(platform, describe, grey):
    storage = platform.stubs.storage
    volume = describe(shape=(4, 40, 40))
    await storage.CreateVolume(storage_pb2.CreateVolumeRequest(volume=volume))
    finish = storage_pb2.FinishVolumeRequest(name=volume.name, grey=grey)
    with pytest.raises(InvalidArgumentError, match="grey"):
        await storage.FinishVolume(finish)


async def test_labels_have_no_grey_values(platform, describe):
    storage = platform.stubs.storage
    volume = describe(shape=(4, 40, 40), kind=storage_pb2.VOLUME_KIND_LABELS)
    await storage.CreateVolume(storage_pb2.CreateVolumeRequest(volume=volume))
    finish = storage_pb2.FinishVolumeRequest(name=volume.name, grey=GREY)
    with pytest.raises(FailedPreconditionError, match="holds labels"):
        await storage.FinishVolume(finish)
