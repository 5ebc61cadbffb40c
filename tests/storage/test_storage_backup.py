"""Copying a store into a folder: from a bucket, onto a full disk, while things go."""

import errno
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from biosegment.client.errors import ResourceExhaustedError, StoreError
from biosegment.storage import address, backup, copies
from biosegment.storage.backup import Backup, Plan
from biosegment.storage.store import Store
from biosegment.storage.volumes import Volumes
from tests.s3_kit import REGION, S3

NAME = "projects/p/volumes/v"
WEIGHTS = "projects/p/objects/models/m/w"


def plan(**changes) -> Plan:
    digest = hashlib.sha256(b"weights").hexdigest()
    fields = {"volumes": [NAME], "needed": [NAME], "views": [], "objects": {WEIGHTS: digest}}
    return Plan(projects=["p"], **{**fields, **changes})


async def filled(store: Store, describe) -> Volumes:
    volumes = Volumes(store)
    made = await volumes.create(describe(NAME, (4, 64, 64)), "r", replace_unfinished=False)
    level = await volumes.open_level(made, 0)
    await level.write(np.arange(4 * 64 * 64, dtype=np.uint8).reshape(4, 64, 64))
    await volumes.finish(NAME)
    await store.write("p/objects/models/m/w", b"weights")
    await store.write("p/objects/jobs/j/checkpoint", b"first")
    return volumes


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.of_folder(tmp_path / "store")


async def test_a_bucket_becomes_a_store_in_a_folder(
    s3: S3, s3_keys, tmp_path: Path, describe
) -> None:
    s3.bucket("backup")
    bucket = Store(address.base_spec("s3://backup/p", s3.endpoint, REGION))
    await filled(bucket, describe)
    assert (await backup.listed(bucket))["volumes"] == [NAME]
    first = await Backup(bucket, tmp_path / "copy").take(plan())
    assert first.missing == []
    assert first.fetched > 3
    made = Store.of_folder(tmp_path / "copy")
    assert await made.keys("") == await bucket.keys("")
    assert [await made.read(k) for k in await made.keys("")] == [
        await bucket.read(k) for k in await bucket.keys("")
    ]
    level = await Volumes(made).open_level(await Volumes(made).get(NAME), 0)
    assert (await level.read()).ravel()[:5].tolist() == [0, 1, 2, 3, 4]
    # What stays what it is is not asked for again; a checkpoint is.
    await bucket.write("p/objects/jobs/j/checkpoint", b"second")
    second = await Backup(bucket, tmp_path / "copy").take(plan())
    assert second.fetched == 1
    assert await made.read("p/objects/jobs/j/checkpoint") == b"second"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_is_one_sentence_and_what_was_copied_stays(
    store: Store, tmp_path: Path, describe, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    await filled(store, describe)
    real, count = shutil.copyfileobj, 0

    def failing(source, target, size) -> None:
        nonlocal count
        count += 1
        if count == 3:
            target.write(b"cut off")
            raise OSError(number, "No space left on device")
        real(source, target, size)

    monkeypatch.setattr(copies.shutil, "copyfileobj", failing)
    with pytest.raises(ResourceExhaustedError, match=r"is full. Make room there and run the same"):
        await Backup(store, tmp_path / "copy").take(plan())
    monkeypatch.setattr(copies.shutil, "copyfileobj", real)
    rest = await Backup(store, tmp_path / "copy").take(plan())
    assert rest.fetched == len(rest.files) - 2 - 2  # Two before; the document and the index key.
    assert rest.missing == []
    for name, size in rest.files.items():
        assert (tmp_path / "copy" / name).stat().st_size == size
        assert (tmp_path / "copy" / name).read_bytes() == await store.read(name)


async def test_what_cannot_be_written_is_named(store: Store, tmp_path: Path, describe) -> None:
    await filled(store, describe)
    (tmp_path / "copy").touch()
    with pytest.raises(StoreError, match=r"copy.* cannot be copied"):
        await Backup(store, tmp_path / "copy").take(plan())


@pytest.mark.parametrize("made_anew", [True, False])
async def test_a_volume_that_goes_while_it_is_copied_is_not_in_the_copy(
    store: Store, tmp_path: Path, describe, monkeypatch: pytest.MonkeyPatch, made_anew: bool
) -> None:
    volumes = await filled(store, describe)
    real = copies.Folder.keys

    async def keys(self, prefix: str):
        found = await real(self, prefix)
        if prefix == "p/v.zarr/" and await store.read("p/v.zarr/zarr.json"):
            await volumes.delete(NAME)
            if made_anew:
                await volumes.create(
                    describe(NAME, (4, 64, 64)), "another", replace_unfinished=False
                )
        return found

    monkeypatch.setattr(copies.Folder, "keys", keys)
    found = await Backup(store, tmp_path / "copy").take(plan())
    assert found.missing == [NAME]
    assert [name for name in found.files if name.startswith("p/v.zarr")] == []
    assert "p/index/v.zarr" not in found.files


async def test_an_object_that_goes_or_is_damaged_is_missing(
    store: Store, tmp_path: Path, describe
) -> None:
    await filled(store, describe)
    other = {WEIGHTS: hashlib.sha256(b"other").hexdigest()}
    assert (await Backup(store, tmp_path / "a").take(plan(objects=other))).missing == [WEIGHTS]
    assert (await Backup(store, tmp_path / "b").take(plan(objects={WEIGHTS: ""}))).missing == []
    await store.write("p/objects/models/m/w", None)
    assert (await Backup(store, tmp_path / "b").take(plan(objects={WEIGHTS: ""}))).missing == [
        WEIGHTS
    ]
