import asyncio

import numpy as np
import pytest
import tifffile
import zarr
from ome_zarr_models.v05.image import Image

from biosegment.client.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    JobCancelledError,
    NotFoundError,
    PathNotAllowedError,
)
from biosegment.client.geometry import Box, shape_of, shape_proto
from biosegment.client.label_values import parse_rules
from biosegment.client.stubs import SyncStubs
from biosegment.ingest import slabs, tiff_target
from biosegment.ingest.readers.base import Reading
from biosegment.ingest.readers.tiff.reader import TiffReader
from biosegment.runtime.arrays import VolumeArray
from biosegment.v1 import ingest_pb2, jobs_pb2, registry_pb2, storage_pb2, types_pb2

SHAPE = (21, 133, 151)
RAW, LABELS = "projects/p/volumes/d-raw", "projects/p/volumes/d-labels"
DATASET = "projects/p/datasets/d"
SIZE = types_pb2.VoxelSize(z=50, y=4.6, x=4.6)


def grey(dtype="u1", shape=SHAPE):
    return np.random.default_rng(5).integers(0, np.iinfo(dtype).max, shape).astype(dtype)


def dataset_spec(path, **more):
    target = jobs_pb2.DatasetTarget(name=DATASET, display_name="D", metadata={"organism": "fly"})
    return jobs_pb2.ImportSpec(
        **{"source_path": str(path), "volume": RAW, "voxel_size": SIZE, "dataset": target, **more}
    )


def labels_spec(path, **more):
    target = jobs_pb2.LabelsTarget(dataset=DATASET)
    return jobs_pb2.ImportSpec(
        **{"source_path": str(path), "volume": "projects/p/volumes/truth", "labels": target, **more}
    )


async def start(platform, spec, request_id="one", **more):
    return await platform.stubs.ingest.StartImport(
        ingest_pb2.StartImportRequest(parent="projects/p", request_id=request_id, spec=spec, **more)
    )


async def start_export(platform, spec, **more):
    return await platform.stubs.ingest.StartExport(
        ingest_pb2.StartExportRequest(parent="projects/p", request_id="e", spec=spec, **more)
    )


async def read(platform, name, level=0):
    def work():
        with SyncStubs(platform.connection) as stubs:
            volume = VolumeArray.open(stubs, name)
            return volume.volume, volume.read(Box.of_shape(volume.shape(level), level))

    return await asyncio.to_thread(work)


async def volume_names(platform):
    answer = await platform.stubs.storage.ListVolumes(
        storage_pb2.ListVolumesRequest(parent="projects/p")
    )
    return [volume.name for volume in answer.volumes]


def known_dataset(platform, shape=SHAPE):
    platform.record.datasets[DATASET] = registry_pb2.Dataset(
        name=DATASET, raw_volume=RAW, shape=shape_proto(shape), voxel_size=SIZE
    )


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("layout", ["ome-zarr", "n5"])
async def test_import_makes_raw_volume_and_label_view(platform, dtype, layout):
    path = platform.files / "raw.tif"
    data = grey(dtype)
    tifffile.imwrite(path, data)
    answer = await start(platform, dataset_spec(path, format=layout))
    assert shape_of(answer.preview.shape) == SHAPE
    assert answer.preview.voxel_bytes == data.nbytes
    context = platform.context(answer.job)
    result = (await platform.imports(context)).import_result
    assert result == answer.preview
    volume, voxels = await read(platform, RAW)
    np.testing.assert_array_equal(voxels, data)
    assert volume.state == storage_pb2.VOLUME_STATE_READY
    assert volume.voxel_size == SIZE
    view, labels = await read(platform, LABELS)
    assert (labels == 255).all()
    assert labels.shape == SHAPE
    assert (view.state, view.kind, view.fill_value) == (
        storage_pb2.VOLUME_STATE_READY,
        storage_pb2.VOLUME_KIND_LABELS,
        255,
    )
    assert context._progress.done == context._progress.total


async def test_import_measures_grey_values_without_the_padding(platform):
    data = grey()
    data[:, 60:] = 7
    tifffile.imwrite(platform.files / "raw.tif", data)
    answer = await start(platform, dataset_spec(platform.files / "raw.tif"))
    await platform.imports(platform.context(answer.job))
    volume, _ = await read(platform, RAW)
    expected = np.quantile(data[:, :60], [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
    np.testing.assert_allclose(volume.grey.quantiles, expected, atol=1)
    assert (list(volume.grey.padding), volume.grey.voxels) == ([7.0], data.size)
    assert volume.grey.left_out == pytest.approx(73 / 133, abs=1e-3)
    view, _ = await read(platform, LABELS)
    assert not view.HasField("grey")


async def test_a_second_attempt_takes_up_what_the_first_left(platform):
    path = platform.files / "raw.tif"
    tifffile.imwrite(path, grey())
    job = (await start(platform, dataset_spec(path))).job
    await platform.imports(platform.context(job, 1))
    await platform.imports(platform.context(job, 2))
    _, voxels = await read(platform, RAW)
    np.testing.assert_array_equal(voxels, grey())


async def test_a_repeated_start_finds_its_own_job(platform):
    path = platform.files / "raw.tif"
    tifffile.imwrite(path, grey())
    job = (await start(platform, dataset_spec(path))).job
    await platform.imports(platform.context(job))
    assert (await start(platform, dataset_spec(path))).job.name == job.name
    with pytest.raises(AlreadyExistsError, match="d-raw"):
        await start(platform, dataset_spec(path), request_id="two")


async def test_validate_only_starts_nothing(platform):
    path = platform.files / "raw.tif"
    tifffile.imwrite(
        path,
        grey(),
        imagej=True,
        resolution=(250, 250),
        metadata={"axes": "ZYX", "spacing": 0.03, "unit": "um"},
    )
    spec = dataset_spec(path)
    spec.ClearField("voxel_size")
    answer = await start(platform, spec, validate_only=True)
    assert not answer.HasField("job")
    assert answer.preview.voxel_size == types_pb2.VoxelSize(z=30, y=4, x=4)
    assert platform.record.jobs == []
    assert await volume_names(platform) == []


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"volume": "projects/p/volumes/../x"}, InvalidArgumentError, "is not the full name"),
        ({"volume": "projects/q/volumes/x"}, InvalidArgumentError, "does not belong"),
        ({"volume": LABELS}, InvalidArgumentError, "another name"),
        ({"format": "hdf5"}, InvalidArgumentError, '"hdf5"'),
        ({"dataset": None}, InvalidArgumentError, "Say what the import makes"),
        ({"voxel_size": None}, InvalidArgumentError, "along z, y, x; give the voxel size"),
        ({"voxel_size": types_pb2.VoxelSize(z=1)}, InvalidArgumentError, "must lie between"),
        ({"source_path": "/etc/passwd"}, PathNotAllowedError, "--import-root"),
        ({"source_path": "raw.tif"}, InvalidArgumentError, "absolute"),
        (
            {"dataset": jobs_pb2.DatasetTarget(name="projects/p/datasets/" + "d" * 60)},
            InvalidArgumentError,
            "label volume",
        ),
    ],
)
async def test_bad_specs_are_refused_before_there_is_a_job(platform, change, error, says):
    path = platform.files / "raw.tif"
    tifffile.imwrite(path, grey())
    with pytest.raises(error, match=says):
        await start(platform, dataset_spec(path, **change))
    assert platform.record.jobs == []


async def test_taken_names_are_refused(platform):
    path = platform.files / "raw.tif"
    tifffile.imwrite(path, grey())
    known_dataset(platform)
    with pytest.raises(AlreadyExistsError, match='data set "d"'):
        await start(platform, dataset_spec(path))
    with pytest.raises(NotFoundError, match="projects/q"):
        await platform.stubs.ingest.StartImport(
            ingest_pb2.StartImportRequest(
                parent="projects/q",
                spec=dataset_spec(
                    path,
                    volume="projects/q/volumes/v",
                    dataset=jobs_pb2.DatasetTarget(name="projects/q/datasets/d"),
                ),
            )
        )


async def test_labels_are_imported_with_the_size_of_their_data_set(platform):
    known_dataset(platform)
    data = grey() % 2
    tifffile.imwrite(platform.files / "truth.tif", data)
    answer = await start(platform, labels_spec(platform.files / "truth.tif"))
    result = (await platform.imports(platform.context(answer.job))).import_result
    assert result.voxel_size == SIZE
    volume, voxels = await read(platform, "projects/p/volumes/truth")
    np.testing.assert_array_equal(voxels, data)
    assert volume.kind == storage_pb2.VOLUME_KIND_LABELS
    assert await volume_names(platform) == ["projects/p/volumes/truth"]


async def test_labels_that_do_not_fit_are_refused(platform):
    known_dataset(platform)
    path = platform.files / "truth.tif"
    data = grey() % 2
    data[3, 5, 7] = 9
    tifffile.imwrite(path, data)
    with pytest.raises(InvalidArgumentError, match=r"page 4, holds the number 9"):
        await start(platform, labels_spec(path))
    tifffile.imwrite(path, data[:20] % 2)
    with pytest.raises(InvalidArgumentError, match=r"20 × 133 × 151 .* 21 × 133 × 151"):
        await start(platform, labels_spec(path))
    tifffile.imwrite(path, grey() % 2 * 0.5)
    with pytest.raises(InvalidArgumentError, match="whole numbers"):
        await start(platform, labels_spec(path))
    assert platform.record.jobs == []


def mapped(path, *rules):
    """Labels with rules for what their numbers mean."""
    mappings = [rule.to_proto() for rule in parse_rules(rules)]
    target = jobs_pb2.LabelsTarget(dataset="projects/p/datasets/d", mappings=mappings)
    return labels_spec(path, labels=target)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
async def test_labels_of_every_type_of_whole_numbers_are_imported(platform, dtype):
    known_dataset(platform)
    data = grey() % 2
    tifffile.imwrite(platform.files / "truth.tif", data.astype(dtype))
    answer = await start(platform, labels_spec(platform.files / "truth.tif"))
    done = await platform.imports(platform.context(answer.job))
    _, voxels = await read(platform, "projects/p/volumes/truth")
    assert voxels.dtype == np.uint8
    np.testing.assert_array_equal(voxels, data)
    assert list(done.warnings) == []


@pytest.mark.parametrize(
    ("painted", "rule"), [(255, "255=1"), (254, "254=1"), (128, "128=1"), (65535, "65535=1")]
)
async def test_labels_in_other_numbers_are_asked_about_and_then_translated(platform, painted, rule):
    known_dataset(platform)
    path, data = platform.files / "truth.tif", (grey() % 2).astype("u2")
    tifffile.imwrite(path, data * painted if painted > 255 else (data * painted).astype("u1"))
    with pytest.raises(InvalidArgumentError, match=f"--map {rule}"):
        await start(platform, labels_spec(path))
    answer = await start(platform, mapped(path, rule))
    await platform.imports(platform.context(answer.job))
    np.testing.assert_array_equal((await read(platform, "projects/p/volumes/truth"))[1], data)


async def test_numbers_of_objects_are_imported_as_one_class_if_said_so(platform):
    known_dataset(platform)
    path = platform.files / "truth.tif"
    objects = np.where(grey() % 2, grey().astype("i4") * 1000, 0)
    tifffile.imwrite(path, objects)
    with pytest.raises(InvalidArgumentError, match="one number per object"):
        await start(platform, labels_spec(path))
    answer = await start(platform, mapped(path, "1-=1"))
    await platform.imports(platform.context(answer.job))
    np.testing.assert_array_equal(
        (await read(platform, "projects/p/volumes/truth"))[1], objects > 0
    )


async def test_255_beside_a_class_is_imported_as_not_labelled_and_told(platform):
    known_dataset(platform)
    data = grey() % 2
    data[2, 3, :] = 255
    tifffile.imwrite(platform.files / "truth.tif", data)
    answer = await start(platform, labels_spec(platform.files / "truth.tif"))
    done = await platform.imports(platform.context(answer.job))
    np.testing.assert_array_equal((await read(platform, "projects/p/volumes/truth"))[1], data)
    (warning,) = done.warnings
    assert f"{data.shape[2]} of {data.size} voxels" in warning


async def test_a_file_that_changes_under_the_import_is_still_checked_to_its_end(platform):
    known_dataset(platform)
    path, data = platform.files / "truth.tif", grey() % 2
    tifffile.imwrite(path, data)
    answer = await start(platform, labels_spec(path))
    tifffile.imwrite(path, data * 255)
    with pytest.raises(InvalidArgumentError, match="0 and 255 and no other number"):
        await platform.imports(platform.context(answer.job))
    assert await volume_names(platform) == []


async def test_a_failed_import_leaves_no_volumes(platform):
    path = platform.files / "raw.tif"
    tifffile.imwrite(path, grey(), compression="zlib", metadata=None)
    job = (await start(platform, dataset_spec(path))).job
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[9].dataoffsets[0], tiff.pages[9].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = b"\xff" * count
    path.write_bytes(content)
    with pytest.raises(InvalidArgumentError, match="Page 10"):
        await platform.imports(platform.context(job))
    assert await volume_names(platform) == []


async def test_a_cancelled_import_leaves_no_volumes_and_a_released_one_does(platform):
    path = platform.files / "raw.tif"
    tifffile.imwrite(path, grey())
    job = (await start(platform, dataset_spec(path))).job
    context = platform.context(job)
    context.cancelled.set()
    context.released = True
    with pytest.raises(JobCancelledError):
        await platform.imports(context)
    assert await volume_names(platform) == [LABELS, RAW]
    context.released = False
    with pytest.raises(JobCancelledError):
        await platform.imports(context)
    assert await volume_names(platform) == []


async def test_another_jobs_volume_is_never_removed(platform):
    path = platform.files / "raw.tif"
    tifffile.imwrite(path, grey())
    first = (await start(platform, dataset_spec(path), "one")).job
    second = (await start(platform, dataset_spec(path), "two")).job
    await platform.imports(platform.context(first))
    with pytest.raises(AlreadyExistsError):
        await platform.imports(platform.context(second))
    assert await volume_names(platform) == [LABELS, RAW]


class TestExport:
    @pytest.fixture
    async def raw(self, platform):
        path = platform.files / "raw.tif"
        tifffile.imwrite(path, grey("u2"))
        job = (await start(platform, dataset_spec(path))).job
        await platform.imports(platform.context(job))
        return grey("u2")

    def spec(self, platform, name, form):
        path = str(platform.outputs / name)
        return jobs_pb2.ExportSpec(volume=RAW, destination_path=path, format=form)

    async def test_tiff_goes_out_and_comes_in_again(self, platform, raw):
        answer = await start_export(platform, self.spec(platform, "out.tif", "tiff"))
        result = (await platform.exports(platform.context(answer.job))).export_result
        path = platform.outputs / "out.tif"
        assert result.path == str(path)
        assert result.size_bytes == path.stat().st_size
        await platform.end(answer.job, jobs_pb2.JOB_KIND_EXPORT, jobs_pb2.JOB_STATE_SUCCEEDED)
        assert [entry.name for entry in platform.outputs.iterdir()] == ["out.tif"]
        with tifffile.TiffFile(path) as tiff:
            assert tiff.is_imagej
            np.testing.assert_array_equal(tiff.asarray(), raw)
        stack = TiffReader().scan(path, Reading())
        assert stack.voxel_size == (50.0, 4.6, 4.6)
        np.testing.assert_array_equal(np.stack(list(stack.pages())), raw)

    async def test_large_tiff_is_bigtiff_with_ome_xml(self, platform, raw):
        path = platform.outputs / "big.tif"

        def work():
            with SyncStubs(platform.connection) as stubs:
                volume = VolumeArray.open(stubs, RAW)
                tiff_target.write(volume, path, lambda _done, _total: None, classic_bytes=1000)

        await asyncio.to_thread(work)
        with tifffile.TiffFile(path) as tiff:
            assert tiff.is_bigtiff
            assert tiff.is_ome
            np.testing.assert_array_equal(tiff.asarray(), raw)
        assert TiffReader().scan(path, Reading()).voxel_size == (50.0, 4.6, 4.6)

    async def test_ome_zarr_folder(self, platform, raw):
        answer = await start_export(platform, self.spec(platform, "out.zarr", "ome-zarr"))
        result = (await platform.exports(platform.context(answer.job))).export_result
        group = zarr.open_group(platform.outputs / "out.zarr", mode="r")
        np.testing.assert_array_equal(group["0"][:], raw)
        image = Image.from_zarr(group)
        scale = image.attributes.ome.multiscales[0].datasets[0].coordinateTransformations[0]
        assert scale.scale == [50.0, 4.6, 4.6]
        assert "biosegment" not in group.attrs
        assert result.size_bytes > 1000

    async def test_bad_requests_are_refused(self, platform, raw):
        with pytest.raises(PathNotAllowedError, match="--export-root"):
            await start_export(platform, self.spec(platform, "../out.tif", "tiff"))
        with pytest.raises(InvalidArgumentError, match="make it first"):
            await start_export(platform, self.spec(platform, "none/out.tif", "tiff"))
        (platform.outputs / "there.tif").touch()
        with pytest.raises(AlreadyExistsError, match="never overwrite"):
            await start_export(platform, self.spec(platform, "there.tif", "tiff"))
        with pytest.raises(InvalidArgumentError, match='"nrrd"'):
            await start_export(platform, self.spec(platform, "out.nrrd", "nrrd"))
        spec = self.spec(platform, "out.tif", "tiff")
        spec.volume = "projects/p/volumes/none"
        with pytest.raises(NotFoundError):
            await start_export(platform, spec)
        assert len(platform.record.jobs) == 1

    async def test_unfinished_volume_is_refused(self, platform):
        volume = storage_pb2.Volume(
            name=RAW,
            kind=storage_pb2.VOLUME_KIND_IMAGE,
            data_type=types_pb2.DATA_TYPE_UINT8,
            voxel_size=SIZE,
            levels=[storage_pb2.VolumeLevel(shape=shape_proto((2, 3, 4)))],
        )
        await platform.stubs.storage.CreateVolume(storage_pb2.CreateVolumeRequest(volume=volume))
        with pytest.raises(FailedPreconditionError, match="not complete"):
            await start_export(platform, self.spec(platform, "out.tif", "tiff"))

    @pytest.mark.parametrize("form", ["tiff", "ome-zarr"])
    async def test_cancelled_export_leaves_nothing(self, platform, raw, form):
        job = (await start_export(platform, self.spec(platform, "out", form))).job
        (platform.outputs / ".out.j2-0.part").mkdir()
        context = platform.context(job)
        context.cancelled.set()
        with pytest.raises(JobCancelledError):
            await platform.exports(context)
        assert list(platform.outputs.iterdir()) == []


@pytest.mark.parametrize("memory", [1, 1 << 30])
@pytest.mark.parametrize("shape", [(1, 1, 1), (35, 67, 300)])
async def test_slabs_of_any_size(platform, memory, shape):
    data = grey(shape=shape)
    volume = storage_pb2.Volume(
        name=RAW,
        kind=storage_pb2.VOLUME_KIND_IMAGE,
        data_type=types_pb2.DATA_TYPE_UINT8,
        voxel_size=SIZE,
        levels=[
            storage_pb2.VolumeLevel(
                shape=shape_proto(shape),
                chunk=types_pb2.Shape(z=4, y=16, x=16),
                write_unit=types_pb2.Shape(z=8, y=32, x=32),
            )
        ],
    )
    await platform.stubs.storage.CreateVolume(storage_pb2.CreateVolumeRequest(volume=volume))
    seen = []

    def work():
        with SyncStubs(platform.connection) as stubs:
            target = VolumeArray.open(stubs, RAW)
            slabs.write_pages(target, iter(data), lambda *done: seen.append(done))
            return np.stack(list(slabs.read_pages(target, memory_bytes=memory)))

    np.testing.assert_array_equal(await asyncio.to_thread(work), data)
    assert seen[-1] == (shape[0], shape[0])
