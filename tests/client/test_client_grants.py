"""A file that its owner names needs no root: the key beside the connection file proves him."""

import os
from pathlib import Path

import pytest

from biosegment.client import grants

VOLUME = "projects/p/volumes/v"


@pytest.fixture
def connection(tmp_path: Path) -> Path:
    return tmp_path / "connection.json"


def test_a_key_is_made_once_for_its_owner_alone(connection: Path) -> None:
    assert grants.read_key(connection) is None
    key = grants.make_key(connection)
    assert key is not None
    assert grants.make_key(connection) == grants.read_key(connection) == key
    assert grants.key_path(connection).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in connection.parent.iterdir()] == ["import-key"]


def test_a_grant_is_for_one_path_and_one_volume(connection: Path) -> None:
    key = grants.make_key(connection)
    assert key is not None
    path = Path("/data/a.tif")
    given = grants.grant(key, path, VOLUME)
    assert grants.is_granted(key, path, VOLUME, given)
    assert not grants.is_granted(key, Path("/data/b.tif"), VOLUME, given)
    assert not grants.is_granted(key, Path("/data"), VOLUME, given)
    assert not grants.is_granted(key, path, VOLUME + "2", given)
    assert not grants.is_granted(b"x" * 32, path, VOLUME, given)
    assert not grants.is_granted(None, path, VOLUME, given)
    for nothing in ("", "0" * 64, given[:-1], "ü" * 64):
        assert not grants.is_granted(key, path, VOLUME, nothing)


def test_a_key_that_others_may_have_read_or_made_counts_for_nothing(connection: Path) -> None:
    assert grants.make_key(connection) is not None
    path = grants.key_path(connection)
    for mode in (0o640, 0o604, 0o620, 0o602):
        path.chmod(mode)
        assert grants.read_key(connection) is None
    path.chmod(0o600)
    path.write_bytes(b"short")
    assert grants.read_key(connection) is None
    path.rename(path.with_name("other"))
    path.symlink_to(path.with_name("other"))
    assert grants.read_key(connection) is None
    path.unlink()
    os.mkfifo(path, 0o600)
    assert grants.read_key(connection) is None


def test_where_no_key_can_be_made_there_is_none(tmp_path: Path) -> None:
    assert grants.make_key(tmp_path / "none" / "connection.json") is None
