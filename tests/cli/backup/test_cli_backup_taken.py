"""Backups of a home while it is worked on, restored and compared."""

import asyncio
import json
import shutil
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from tests.backup_kit import DATASET, LABELS, PROJECT, RAW, Stock, files, off_loop, rows, stock
from typer.testing import CliRunner

from biosegment.cli.app import app
from biosegment.cli.backup.restore import restore
from biosegment.cli.backup.take import Taken, take
from biosegment.cli.up.home import Home
from biosegment.client.errors import FailedPreconditionError
from biosegment.registry.backup import named
from biosegment.storage import layout
from biosegment.storage.store import Store, place_of
from biosegment.v1 import storage_pb2

_FORMAT = storage_pb2.VOLUME_FORMAT_OME_ZARR


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Stock]:
    async with stock(tmp_path / "home") as here:
        yield here


async def taken(made: Stock, target: Path) -> Taken:
    found = await off_loop(take, made.home, target, endpoint="", region="")
    assert isinstance(found, Taken)
    return found


async def test_no_acknowledged_commit_is_missing_and_nothing_that_the_record_names(
    made: Stock, tmp_path: Path
) -> None:
    acknowledged: list[int] = []
    stopping = asyncio.Event()

    async def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        while not stopping.is_set():
            mask = random.integers(0, 2, (1, 8, 8)).astype(np.uint8)
            acknowledged.append((await made.record.commit(mask)).revision)

    async def shuffle() -> None:
        """Volumes that come and go, as their jobs have them."""
        count = 0
        while not stopping.is_set():
            count += 1
            await made.volume(f"{PROJECT}/volumes/free-{count % 3}", count % 250)
            await made.store.write(f"p/objects/jobs/j{count % 3}/checkpoint", b"c" * count)
            await made.volumes.delete(f"{PROJECT}/volumes/free-{(count + 1) % 3}")

    workers = [asyncio.create_task(work(seed)) for seed in range(3)]
    workers.append(asyncio.create_task(shuffle()))
    for number in range(3):
        before = list(acknowledged)
        found = await taken(made, tmp_path / "backup")
        assert found.manifest.complete
        assert found.manifest.missing == ()
        home = Home(tmp_path / f"restored-{number}")
        await off_loop(restore, tmp_path / "backup", home)
        kept = {revision for (revision,) in rows(home.database, "SELECT revision FROM annotation")}
        assert set(before) <= kept
        assert len(kept) == found.manifest.annotations
        assert rows(home.database, "PRAGMA integrity_check") == [("ok",)]
        again = named(home.database)
        assert set(again["needed"]) >= {RAW, LABELS}
        assert files(home.store)["p/objects/models/m/train.safetensors"] == b"weights"
        raw = {name for name in made.files() if name.startswith("p/d.zarr/")}
        assert {name: files(home.store)[name] for name in raw} == {
            name: made.files()[name] for name in raw
        }
    stopping.set()
    await asyncio.gather(*workers)
    assert len(acknowledged) > 10


async def test_a_view_of_the_log_is_to_be_painted_anew(made: Stock, tmp_path: Path) -> None:
    # As if it had been painted with commits that the copy of the record does not have.
    await made.volumes.set_revision(LABELS, 40)
    await taken(made, tmp_path / "backup")
    place = place_of(LABELS, _FORMAT)
    copied = Store.of_folder(tmp_path / "backup" / "store")
    document = await copied.read(layout.group_key(place))
    assert document is not None
    volume = layout.read_document(place, document).volume
    assert volume.revision == 0
    assert volume.state == storage_pb2.VOLUME_STATE_READY
    names = await copied.keys(place.prefix)
    assert names
    assert {name.rpartition("/")[2] for name in names} == {"zarr.json"}
    assert await copied.keys(place_of(RAW, _FORMAT).prefix) == await made.store.keys(
        place_of(RAW, _FORMAT).prefix
    )


async def test_what_is_being_written_is_not_complete_in_the_copy(
    made: Stock, tmp_path: Path
) -> None:
    name = f"{PROJECT}/volumes/half"
    await made.volume(name, finish=False)
    await taken(made, tmp_path / "backup")
    place = place_of(name, _FORMAT)
    document = await Store.of_folder(tmp_path / "backup/store").read(layout.group_key(place))
    assert document is not None
    state = layout.read_document(place, document).volume.state
    assert state == storage_pb2.VOLUME_STATE_WRITING


async def test_only_what_changed_is_copied_again_and_what_went_goes(
    made: Stock, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    await made.volume(f"{PROJECT}/volumes/gone", 3)
    first = await taken(made, backup)
    assert first.fetched > 3
    assert (backup / "store/p/gone.zarr").exists()
    await made.volumes.delete(f"{PROJECT}/volumes/gone")
    await made.store.write("p/objects/jobs/j/checkpoint", b"new")
    second = await taken(made, backup)
    assert second.fetched == 1
    assert not (backup / "store/p/gone.zarr").exists()
    assert not (backup / "store/p/index/gone.zarr").exists()
    assert len(list(backup.glob("registry-*.sqlite"))) == len(list(backup.glob("files-*"))) == 1
    assert sorted(path.name for path in backup.iterdir())[0] == "backup.json"


async def test_a_volume_that_was_made_anew_is_copied_anew(made: Stock, tmp_path: Path) -> None:
    name = f"{PROJECT}/volumes/again"
    await made.volume(name, 3)
    await taken(made, tmp_path / "backup")
    await made.volumes.delete(name)
    await made.volume(name, 4)
    await taken(made, tmp_path / "backup")
    copied = files(tmp_path / "backup/store")
    expected = {n: data for n, data in made.files().items() if n.startswith("p/again.zarr/")}
    assert {n: data for n, data in copied.items() if n.startswith("p/again.zarr/")} == expected


async def test_what_the_platform_lacks_itself_is_told(made: Stock, tmp_path: Path) -> None:
    await made.store.write("p/objects/models/m/train.safetensors", b"damaged")
    await made.store.delete("p/d.zarr/")
    found = await taken(made, tmp_path / "backup")
    assert found.manifest.missing == (RAW, f"{PROJECT}/objects/models/m/train.safetensors")
    # It can be restored all the same: it has whatever there is.
    home = Home(tmp_path / "restored")
    assert (await off_loop(restore, tmp_path / "backup", home)).missing == found.manifest.missing


async def test_what_is_secret_stays_secret_and_tokens_are_not_copied(
    made: Stock, tmp_path: Path
) -> None:
    made.home.secret("token")
    await taken(made, tmp_path / "backup")
    home = Home(tmp_path / "restored")
    await off_loop(restore, tmp_path / "backup", home)
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700
    (record,) = (tmp_path / "backup").glob("registry-*.sqlite")
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.database.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700
    assert sorted(path.name for path in home.folder.iterdir()) == ["registry.sqlite", "store"]
    home.lock()
    assert home.secret("token") != made.home.secret("token")
    home.unlock()


async def test_places_where_a_backup_is_of_no_use_are_refused(made: Stock, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(made.home.folder)
    for target in (
        made.home.folder,
        made.home.store / "backup",
        made.home.folder / "logs" / "deep",
        tmp_path,
        tmp_path / "link" / "backup",
    ):
        with pytest.raises(FailedPreconditionError, match="a backup is of no use there"):
            await taken(made, target)
    for name in ("letters", "backup.json.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").touch()
        with pytest.raises(FailedPreconditionError, match=r"files that no backup made \(a.txt\)"):
            await taken(made, tmp_path / name)
        assert [path.name for path in (tmp_path / name).iterdir()] == ["a.txt"]


async def test_a_backup_is_of_one_platform(made: Stock, tmp_path: Path) -> None:
    await taken(made, tmp_path / "backup")
    async with stock(tmp_path / "other") as other:
        with pytest.raises(FailedPreconditionError, match="the backup of another platform"):
            await taken(other, tmp_path / "backup")
    await taken(made, tmp_path / "backup")


def test_a_home_that_is_none_has_no_backup(tmp_path: Path) -> None:
    with pytest.raises(FailedPreconditionError, match=r"no platform's home .*--home"):
        take(Home(tmp_path / "nowhere"), tmp_path / "backup", endpoint="", region="")
    assert not (tmp_path / "backup").exists()


async def test_an_attempt_that_fails_leaves_the_backup_before_it_whole(
    made: Stock, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    await taken(made, backup)
    manifest = (backup / "backup.json").read_text()
    await made.store.write("p/objects/models/m/more", b"more")
    # A file in the way of what the next one copies.
    (backup / "store/p/objects/models/m/more").mkdir()
    with pytest.raises(FailedPreconditionError, match="cannot be copied"):
        await taken(made, backup)
    assert (backup / "backup.json").read_text() == manifest
    await off_loop(restore, backup, Home(tmp_path / "restored"))
    (backup / "store/p/objects/models/m/more").rmdir()
    await taken(made, backup)
    assert (backup / "backup.json").read_text() != manifest


async def test_a_first_attempt_that_fails_does_not_claim_to_be_whole(
    made: Stock, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    (backup / "store").mkdir(parents=True)
    (backup / "store/p").touch()
    (backup / "backup.json").write_text(
        json.dumps({"format": 1, "identity": (await off_loop(identity, made)), "missing": []})
    )
    with pytest.raises(FailedPreconditionError, match="cannot be copied"):
        await taken(made, backup)
    with pytest.raises(FailedPreconditionError, match="never whole; take it with"):
        restore(backup, Home(tmp_path / "restored"))
    assert not (tmp_path / "restored").exists()
    (backup / "store/p").unlink()
    await taken(made, backup)
    await off_loop(restore, backup, Home(tmp_path / "restored"))


def identity(made: Stock) -> str:
    return (made.home.store / ".biosegment/identity").read_text()


async def test_arrays_elsewhere_are_within_the_restored_home(made: Stock, tmp_path: Path) -> None:
    shutil.move(made.home.store, tmp_path / "arrays")
    made.home.arrays.keep_place(str(tmp_path / "arrays"))
    with pytest.raises(FailedPreconditionError, match="of no use there"):
        await taken(made, tmp_path / "arrays" / "backup")
    await taken(made, tmp_path / "backup")
    home = Home(tmp_path / "restored")
    await off_loop(restore, tmp_path / "backup", home)
    assert home.arrays.place(None) == str(home.store)
    assert files(home.store).keys() >= {
        "p/objects/models/m/train.safetensors",
        "p/d.zarr/zarr.json",
    }
    assert rows(home.database, f"SELECT count(*) FROM dataset WHERE name = '{DATASET}'") == [(1,)]


def test_the_home_is_that_of_the_connection_file_unless_one_is_named(tmp_path: Path) -> None:
    connection = tmp_path / "there" / "connection.json"
    for arguments, folder in (([], "there"), (["--home", str(tmp_path / "named")], "named")):
        command = ["--connection", str(connection), "backup", str(tmp_path / "b"), *arguments]
        answer = CliRunner().invoke(app, command, env={"BIOSEGMENT_HOME": None})
        assert answer.exit_code == 1
        assert f"no platform's home at {tmp_path / folder};" in answer.stderr
