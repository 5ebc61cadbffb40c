"""What attempts that never told of their end have left, and who takes it up or away."""

import numpy as np
import pytest
import tifffile

from biosegment.client.errors import AlreadyExistsError, JobCancelledError
from biosegment.ingest import placing
from biosegment.v1 import ingest_pb2, jobs_pb2, storage_pb2, types_pb2

RAW, LABELS = "projects/p/volumes/d-raw", "projects/p/volumes/d-labels"
SIZE = types_pb2.VoxelSize(z=50, y=4.6, x=4.6)
DATA = np.random.default_rng(5).integers(0, 255, (5, 70, 90)).astype("u1")
IMPORT, EXPORT = jobs_pb2.JOB_KIND_IMPORT, jobs_pb2.JOB_KIND_EXPORT
CANCELLED, FAILED = jobs_pb2.JOB_STATE_CANCELLED, jobs_pb2.JOB_STATE_FAILED
QUEUED, SUCCEEDED = jobs_pb2.JOB_STATE_QUEUED, jobs_pb2.JOB_STATE_SUCCEEDED


async def start_import(platform, request_id="one"):
    path = platform.files / "raw.tif"
    tifffile.imwrite(path, DATA)
    spec = jobs_pb2.ImportSpec(
        source_path=str(path),
        volume=RAW,
        voxel_size=SIZE,
        dataset=jobs_pb2.DatasetTarget(name="projects/p/datasets/d"),
    )
    request = ingest_pb2.StartImportRequest(parent="projects/p", request_id=request_id, spec=spec)
    return (await platform.stubs.ingest.StartImport(request)).job


async def start_export(platform, name="out", form="tiff"):
    spec = jobs_pb2.ExportSpec(
        volume=RAW, destination_path=str(platform.outputs / name), format=form
    )
    request = ingest_pb2.StartExportRequest(parent="projects/p", request_id=name, spec=spec)
    return (await platform.stubs.ingest.StartExport(request)).job


async def volume_names(platform):
    request = storage_pb2.ListVolumesRequest(parent="projects/p")
    return [volume.name for volume in (await platform.stubs.storage.ListVolumes(request)).volumes]


def files(platform):
    return sorted(path.name for path in platform.outputs.iterdir())


@pytest.fixture
async def raw(platform):
    await platform.imports(platform.context(await start_import(platform)))


async def left_by_an_import(platform):
    """A job of which an attempt made the volumes and was let go."""
    job = await start_import(platform)
    context = platform.context(job)
    context.cancelled.set()
    context.released = True
    with pytest.raises(JobCancelledError):
        await platform.imports(context)
    assert await volume_names(platform) == [LABELS, RAW]
    return job


@pytest.mark.parametrize("state", [CANCELLED, FAILED])
async def test_an_import_that_ended_between_its_attempts_leaves_no_volumes(platform, state):
    job = await left_by_an_import(platform)
    await platform.end(job, IMPORT, state)
    assert await volume_names(platform) == []
    await platform.tell(job, IMPORT, state)
    await platform.imports(platform.context(job, 2))
    assert await volume_names(platform) == [LABELS, RAW]


async def test_the_event_of_an_end_that_was_retried_since_removes_nothing(platform):
    job = await left_by_an_import(platform)
    await platform.end(job, IMPORT, CANCELLED)
    await platform.imports(platform.context(job, 2))
    await platform.end(job, IMPORT, SUCCEEDED)
    await platform.tell(job, IMPORT, CANCELLED)
    assert await volume_names(platform) == [LABELS, RAW]


async def test_what_another_job_made_under_the_names_stays(platform):
    first = await start_import(platform, "one")
    second = await start_import(platform, "two")
    await platform.imports(platform.context(second))
    await platform.end(first, IMPORT, CANCELLED)
    assert await volume_names(platform) == [LABELS, RAW]


@pytest.mark.parametrize("form", ["tiff", "ome-zarr"])
async def test_an_export_that_was_killed_before_it_told_is_known_by_the_next(platform, raw, form):
    job = await start_export(platform, form=form)
    first = (await platform.exports(platform.context(job, 1))).export_result
    made = (platform.outputs / "out").stat()
    again = (await platform.exports(platform.context(job, 2))).export_result
    assert again == first
    after = (platform.outputs / "out").stat()
    assert (after.st_ino, after.st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    # A retry of one that ended before it could tell, too; then nothing is left beside it.
    await platform.end(job, EXPORT, FAILED)
    assert (await platform.exports(platform.context(job, 3))).export_result == first
    await platform.end(job, EXPORT, SUCCEEDED)
    assert files(platform) == ["out"]


@pytest.mark.parametrize("form", ["tiff", "ome-zarr"])
async def test_an_export_that_was_killed_before_the_rename_is_written_anew(platform, raw, form):
    job = await start_export(platform, form=form)
    await platform.exports(platform.context(job, 1))
    placing.remove(platform.outputs / "out")  # As if it had never been put there.
    assert files(platform) == [f".out.{job.name.rpartition('/')[2]}.placed"]
    await platform.exports(platform.context(job, 2))
    await platform.end(job, EXPORT, SUCCEEDED)
    assert files(platform) == ["out"]


async def test_a_file_that_took_the_place_of_an_export_is_not_taken_for_it(platform, raw):
    job = await start_export(platform)
    await platform.exports(platform.context(job, 1))
    path = platform.outputs / "out"
    path.unlink()
    path.write_bytes(b"somebody else's")
    with pytest.raises(AlreadyExistsError, match="never overwrite"):
        await platform.exports(platform.context(job, 2))
    assert path.read_bytes() == b"somebody else's"


async def test_the_output_of_another_job_is_not_taken_for_ones_own(platform, raw):
    first = await start_export(platform)
    second = await start_export(platform)
    assert first.name != second.name
    await platform.exports(platform.context(first))
    with pytest.raises(AlreadyExistsError, match="never overwrite"):
        await platform.exports(platform.context(second))


@pytest.mark.parametrize("form", ["tiff", "ome-zarr"])
async def test_what_comes_to_the_place_while_it_is_written_is_not_overwritten(platform, form):
    draft, destination = (platform.outputs / name for name in ("draft", "out"))
    if form == "tiff":
        draft.write_bytes(b"ours")
        destination.write_bytes(b"theirs")
    else:
        draft.mkdir()
        destination.mkdir()
    with pytest.raises(AlreadyExistsError, match="never overwrite"):
        placing.place(draft, destination, "projects/p/jobs/j", 4)
    assert files(platform) == ["draft", "out"]
    if form == "tiff":
        assert destination.read_bytes() == b"theirs"


async def test_a_cancelled_export_that_nobody_held_leaves_no_draft(platform, raw):
    job = await start_export(platform)
    placing.draft_path(platform.outputs / "out", job.name, 1).mkdir()
    placing.draft_path(platform.outputs / "out", "projects/p/jobs/other", 1).touch()
    await platform.end(job, EXPORT, CANCELLED)
    assert files(platform) == [".out.other-1.part"]
