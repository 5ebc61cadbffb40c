"""What a volume leaves when it is removed: nothing."""

from pathlib import Path

import pytest

from biosegment.v1 import storage_pb2 as pb

NAME = "projects/p/volumes/v"


def left(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if ".biosegment" not in path.parts
    )


@pytest.mark.parametrize("form", [pb.VOLUME_FORMAT_OME_ZARR, pb.VOLUME_FORMAT_N5])
async def test_neither_files_nor_folders_stay(platform, describe, form):
    await platform.volumes.create(describe(NAME, format=form), "r", replace_unfinished=False)
    assert len(left(platform.folder)) > 5
    await platform.stubs.storage.DeleteVolume(pb.DeleteVolumeRequest(name=NAME))
    assert left(platform.folder) == ["p", "p/index"]


async def test_the_table_of_its_instances_goes_with_it_and_no_others(platform, describe):
    for name in (NAME, f"{NAME}-2"):
        await platform.volumes.create(describe(name), "r", replace_unfinished=False)
    for table in ("v/table.csv", "v/job-1/fragments", "v-2/table.csv", "w/table.csv"):
        await platform.store.write(f"p/objects/instances/{table}", b"1")
    await platform.stubs.storage.DeleteVolume(pb.DeleteVolumeRequest(name=NAME))
    assert await platform.store.keys("p/objects/instances/") == ["v-2/table.csv", "w/table.csv"]
    assert not (platform.folder / "p/objects/instances/v").exists()


async def test_who_did_not_make_it_removes_nothing(platform, describe):
    await platform.volumes.create(describe(NAME), "mine", replace_unfinished=False)
    await platform.store.write("p/objects/instances/v/table.csv", b"1")
    before = left(platform.folder)
    request = pb.DeleteVolumeRequest(name=NAME, made_by_request_id="another")
    await platform.stubs.storage.DeleteVolume(request)
    assert left(platform.folder) == before


async def test_objects_below_a_name_leave_no_folders(platform):
    for key in ("a/b/c", "a/d", "e"):
        await platform.store.write(f"p/objects/{key}", b"1")
    request = pb.DeleteObjectRequest(name="projects/p/objects/a", below=True)
    await platform.stubs.storage.DeleteObject(request)
    assert left(platform.folder) == ["p", "p/objects", "p/objects/e"]
