import json

import numpy as np
import pytest
import tensorstore as ts
import zarr
from ome_zarr_models.v05.image import Image
from ome_zarr_models.v05.image_label import ImageLabel

from biosegment.client.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from biosegment.client.geometry import shape_of
from biosegment.v1 import storage_pb2 as pb
from biosegment.v1 import types_pb2

NAME = "projects/p/volumes/v"


async def write_all(platform, volume, data):
    _, specs = await platform.volumes.level_specs(volume.name)
    level = await ts.open(json.loads(specs[0]), open=True)
    await level.write(data)


async def create(platform, volume, request_id="one", **more):
    answer = await platform.stubs.storage.CreateVolume(
        pb.CreateVolumeRequest(volume=volume, request_id=request_id, **more)
    )
    return answer.volume


async def finish(platform, name=NAME):
    return (await platform.stubs.storage.FinishVolume(pb.FinishVolumeRequest(name=name))).volume


@pytest.mark.parametrize("layout", [pb.VOLUME_FORMAT_OME_ZARR, pb.VOLUME_FORMAT_N5])
@pytest.mark.parametrize("channels", [0, 2])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int8", "int16"])
async def test_what_is_written_is_read(platform, describe, layout, channels, dtype):
    data_type = types_pb2.DataType.Value(f"DATA_TYPE_{dtype.upper()}")
    shape = (7, 61, 530)
    volume = await create(
        platform, describe(shape=shape, format=layout, channels=channels, dtype=data_type)
    )
    least = -128 if dtype.startswith("int") else 0
    data = np.random.default_rng(0).integers(least, 127, (channels, *shape) if channels else shape)
    await write_all(platform, volume, data.astype(dtype))
    _, specs = await platform.volumes.level_specs(NAME)
    again = await ts.open(json.loads(specs[0]), open=True)
    assert again.shape == data.shape
    np.testing.assert_array_equal(await again.read(), data)
    assert len(specs) == len(volume.levels) == 2
    coarse = await ts.open(json.loads(specs[1]), open=True)
    assert coarse.shape[-3:] == shape_of(volume.levels[1].shape) == (7, 61, 265)


async def test_zarr_is_sharded_and_read_by_zarr_python(platform, describe):
    volume = await create(platform, describe())
    data = np.random.default_rng(1).integers(0, 255, (40, 300, 600)).astype("u1")
    await write_all(platform, volume, data)
    array = zarr.open_array(platform.folder / "p" / "v.zarr" / "0", mode="r")
    assert array.shards == shape_of(volume.levels[0].write_unit)
    assert array.chunks == shape_of(volume.levels[0].chunk)
    np.testing.assert_array_equal(array[:], data)


async def test_unfinished_volume_is_no_image(platform, describe):
    await create(platform, describe())
    group = zarr.open_group(platform.folder / "p" / "v.zarr", mode="r")
    assert "ome" not in group.attrs
    with pytest.raises(ValueError):
        Image.from_zarr(group)


@pytest.mark.parametrize("channels", [0, 3])
async def test_finished_image_is_valid_ome_zarr(platform, describe, channels):
    await create(platform, describe(shape=(30, 1200, 1100), channels=channels))
    volume = await finish(platform)
    assert volume.state == pb.VOLUME_STATE_READY
    image = Image.from_zarr(zarr.open_group(platform.folder / "p" / "v.zarr", mode="r"))
    (multiscale,) = image.attributes.ome.multiscales
    assert [axis.name for axis in multiscale.axes] == [*["c"] * bool(channels), "z", "y", "x"]
    assert [axis.unit for axis in multiscale.axes][-3:] == ["nanometer"] * 3
    assert len(multiscale.datasets) == len(volume.levels) == 3
    scale, translation = multiscale.datasets[1].coordinateTransformations
    assert scale.scale[-3:] == [50.0, 9.2, 9.2]
    assert translation.translation[-3:] == [0.0, 2.3, 2.3]


async def test_finished_labels_are_valid_ome_zarr_labels(platform, describe):
    await create(platform, describe(kind=pb.VOLUME_KIND_LABELS, fill_value=255))
    await finish(platform)
    group = zarr.open_group(platform.folder / "p" / "v.zarr", mode="r")
    labels = ImageLabel.from_zarr(group)
    assert labels.attributes.ome.multiscales[0].type == "mode"
    assert "image-label" in group.attrs["ome"]
    assert set(np.unique(group["0"][:4])) == {255}


async def test_n5_carries_what_paintera_and_bdv_read(platform, describe):
    await create(platform, describe(shape=(30, 300, 1100), format=pb.VOLUME_FORMAT_N5))
    folder = platform.folder / "p" / "v.n5"
    before = json.loads((folder / "attributes.json").read_text())
    assert "multiScale" not in before
    assert "downsamplingFactors" not in json.loads((folder / "s1/attributes.json").read_text())
    await finish(platform)
    group = json.loads((folder / "attributes.json").read_text())
    assert group["multiScale"] is True
    assert group["resolution"] == [4.6, 4.6, 50.0]
    assert group["scales"] == [[1, 1, 1], [2, 2, 1], [4, 4, 1]]
    coarse = json.loads((folder / "s1/attributes.json").read_text())
    assert coarse["downsamplingFactors"] == [2, 2, 1]
    assert coarse["pixelResolution"] == {"unit": "nm", "dimensions": [4.6, 4.6, 50.0]}
    assert coarse["dimensions"] == [550, 150, 30]
    _, specs = await platform.volumes.level_specs(NAME)
    assert (await ts.open(json.loads(specs[1]), open=True)).shape == (30, 150, 550)


async def test_a_repeat_of_create_returns_the_first_answer(platform, describe):
    first = await create(platform, describe())
    assert await create(platform, describe()) == first
    await finish(platform)
    assert (await create(platform, describe())).state == pb.VOLUME_STATE_READY
    with pytest.raises(AlreadyExistsError):
        await create(platform, describe(), request_id="two")
    with pytest.raises(AlreadyExistsError):
        await create(platform, describe(shape=(1, 2, 3)))
    with pytest.raises(AlreadyExistsError):
        await create(platform, describe(format=pb.VOLUME_FORMAT_N5), request_id="two")


async def test_only_an_unfinished_volume_is_replaced(platform, describe):
    volume = await create(platform, describe())
    await write_all(platform, volume, np.full((40, 300, 600), 9, "u1"))
    replaced = await create(platform, describe(), "two", replace_unfinished=True)
    level = await platform.volumes.open_level(replaced, 0)
    assert not (await level.read()).any()
    await finish(platform)
    with pytest.raises(AlreadyExistsError):
        await create(platform, describe(), "three", replace_unfinished=True)


@pytest.mark.parametrize("layout", [pb.VOLUME_FORMAT_OME_ZARR, pb.VOLUME_FORMAT_N5])
async def test_delete_leaves_nothing(platform, describe, layout):
    volume = await create(platform, describe(format=layout))
    await write_all(platform, volume, np.ones((40, 300, 600), "u1"))
    await platform.stubs.storage.DeleteVolume(pb.DeleteVolumeRequest(name=NAME))
    await platform.stubs.storage.DeleteVolume(pb.DeleteVolumeRequest(name=NAME))
    with pytest.raises(NotFoundError):
        await platform.stubs.storage.GetVolume(pb.GetVolumeRequest(name=NAME))
    left = [path for path in platform.folder.rglob("*") if path.is_file()]
    assert left == [platform.folder / ".biosegment" / "identity"]


async def test_volumes_are_listed_in_pages(platform, describe):
    for n in range(5):
        layout = pb.VOLUME_FORMAT_N5 if n % 2 else pb.VOLUME_FORMAT_OME_ZARR
        await create(platform, describe(f"projects/p/volumes/v{n}", (2, 3, 4), format=layout))
    await create(platform, describe("projects/other/volumes/v9", (2, 3, 4)))
    seen, token = [], ""
    for _ in range(3):
        page = await platform.stubs.storage.ListVolumes(
            pb.ListVolumesRequest(parent="projects/p", page_size=2, page_token=token)
        )
        seen += [volume.name for volume in page.volumes]
        token = page.next_page_token
    assert seen == [f"projects/p/volumes/v{n}" for n in range(5)]
    assert token == ""
    with pytest.raises(InvalidArgumentError, match="page token"):
        await platform.stubs.storage.ListVolumes(
            pb.ListVolumesRequest(parent="projects/p", page_token="\u00e9")
        )


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (0, 10, 10)},
        {"shape": (10, -1, 10)},
        {"shape": (1 << 40, 10, 10)},
        {"voxel_size": (0.0, 1.0, 1.0)},
        {"voxel_size": (float("nan"), 1.0, 1.0)},
        {"kind": pb.VOLUME_KIND_UNSPECIFIED},
        {"dtype": types_pb2.DATA_TYPE_UNSPECIFIED},
        {"dtype": types_pb2.DATA_TYPE_FLOAT32, "kind": pb.VOLUME_KIND_LABELS},
        {"fill_value": 256},
        {"fill_value": 128, "dtype": types_pb2.DATA_TYPE_INT8},
        {"dtype": types_pb2.DATA_TYPE_INT16, "kind": pb.VOLUME_KIND_LABELS},
        {"fill_value": 255, "format": pb.VOLUME_FORMAT_N5},
        {"channels": 100_000},
        {"name": "projects/p/volumes/../../v"},
        {"name": "projects/p/volumes/.."},
        {"name": "projects/../volumes/v"},
        {"name": "/projects/p/volumes/v"},
        {"name": "projects/p/volumes/"},
    ],
)
async def test_senseless_requests_are_refused(platform, describe, change):
    with pytest.raises(InvalidArgumentError):
        await create(platform, describe(**change))
    assert [path.name for path in platform.folder.iterdir()] == [".biosegment"]


async def test_chunk_and_write_unit_can_be_asked_for(platform, describe):
    asked = describe()
    asked.levels[0].chunk.CopyFrom(types_pb2.Shape(z=4, y=32, x=32))
    asked.levels[0].write_unit.CopyFrom(types_pb2.Shape(z=8, y=64, x=64))
    volume = await create(platform, asked)
    assert shape_of(volume.levels[0].write_unit) == (8, 64, 64)
    asked.name = "projects/p/volumes/w"
    asked.levels[0].write_unit.z = 9
    with pytest.raises(InvalidArgumentError, match="whole number of chunks"):
        await create(platform, asked)
