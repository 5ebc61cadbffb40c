"""What can be wrong with a backup, or with the place that it is to be restored into."""

import asyncio
import errno
import json
import shutil
from pathlib import Path

import pytest
from tests.backup_kit import files, off_loop, stock

from biosegment.cli.backup import restore as module
from biosegment.cli.backup.folder import BackupFolder
from biosegment.cli.backup.restore import restore
from biosegment.cli.backup.take import take
from biosegment.cli.up.home import Home
from biosegment.client.errors import FailedPreconditionError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backups")

    async def make() -> None:
        async with stock(folder / "home") as made:
            await off_loop(take, made.home, folder / "backup", endpoint="", region="")

    asyncio.run(make())
    return folder / "backup"


@pytest.fixture
def backup(whole: Path, tmp_path: Path) -> Path:
    """One that the test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "backup"))


def refused(backup: Path, home: Path) -> str:
    with pytest.raises(FailedPreconditionError) as caught:
        restore(backup, Home(home))
    return caught.value.message


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    assert "There is no backup in" in refused(tmp_path / "none", tmp_path / "home")
    (tmp_path / "empty").mkdir()
    assert "There is no backup in" in refused(tmp_path / "empty", tmp_path / "home")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}', '{"format": 1, "x": 2}'])
def test_a_damaged_manifest_is_named(backup: Path, tmp_path: Path, text: str) -> None:
    (backup / "backup.json").write_text(text)
    assert "backup.json is damaged" in refused(backup, tmp_path / "home")


def test_a_newer_backup_asks_for_a_newer_release(backup: Path, tmp_path: Path) -> None:
    content = json.loads((backup / "backup.json").read_text())
    (backup / "backup.json").write_text(json.dumps({**content, "format": 2}))
    assert "made by a newer release" in refused(backup, tmp_path / "home")


def test_a_backup_that_lost_something_is_refused(backup: Path, tmp_path: Path) -> None:
    weights = backup / "store/p/objects/models/m/train.safetensors"
    weights.write_bytes(b"short")
    assert f"{weights} has not the 7 bytes" in refused(backup, tmp_path / "home")
    weights.unlink()
    assert f"{weights} has not" in refused(backup, tmp_path / "home")
    weights.write_bytes(b"weights")
    (record,) = backup.glob("registry-*.sqlite")
    data = bytearray(record.read_bytes())
    data[-1] ^= 1
    record.write_bytes(data)
    assert "its record or its list of files" in refused(backup, tmp_path / "home")
    record.unlink()
    assert "its record or its list of files" in refused(backup, tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_place_that_is_in_use_is_refused(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/token").touch()
    assert "is not empty; name a new folder" in refused(whole, tmp_path / "home")
    (tmp_path / "file").touch()
    assert "cannot be written" in refused(whole, tmp_path / "file" / "home")


def test_two_do_not_work_on_one_backup(whole: Path, tmp_path: Path) -> None:
    with BackupFolder(whole).locked():
        assert "Another backup into" in refused(whole, tmp_path / "home")


def test_a_restore_that_is_cut_off_goes_on_and_nothing_starts_on_it_before(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, real, count = Home(tmp_path / "home"), module.copy, 0

    def failing(source: Path, target: Path, *, mode: int = 0o644) -> None:
        nonlocal count
        count += 1
        if count == 5:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        real(source, target, mode=mode)

    monkeypatch.setattr(module, "copy", failing)
    assert "is full. Make room there and run the same again" in refused(whole, home.folder)
    monkeypatch.setattr(module, "copy", real)
    with pytest.raises(FailedPreconditionError, match=r"was not restored to its end. Run it again"):
        home.lock()
    assert not home.database.exists()
    restore(whole, home)
    assert files(home.store) == files(whole / "store")
    home.lock()
    home.unlock()
    assert "is not empty" in refused(whole, home.folder)
