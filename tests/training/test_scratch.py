"""Temporary folders of trainings that were killed go; those in use stay."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from biosegment.training import scratch

_CODE = """
import sys, time
from biosegment.training.scratch import scratch
with scratch() as folder:
    (folder / "checkpoint").write_bytes(b"x")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def aged(folder: Path) -> Path:
    """The folder, as if it had been made long ago."""
    past = time.time() - 2 * scratch._AGE_SECONDS
    os.utime(folder, (past, past))
    return folder


def test_what_a_killed_training_left_is_removed_and_what_is_used_stays() -> None:
    with subprocess.Popen([sys.executable, "-c", _CODE], stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        folder = Path(one.stdout.readline().strip())
        aged(folder)
        assert scratch.clean() == 0
        assert (folder / "checkpoint").exists()
        one.kill()
        one.wait(30)
    aged(folder)
    assert scratch.clean() == 1
    assert not folder.exists()


def test_what_an_earlier_release_left_is_removed(tmp_path: Path) -> None:
    old = tmp_path / f"{scratch.PREFIX}old"
    old.mkdir()
    (old / "checkpoint").touch()
    aged(old)
    assert scratch.clean() == 1
    assert not old.exists()


def test_other_things_stay(tmp_path: Path) -> None:
    new = tmp_path / f"{scratch.PREFIX}new"
    new.mkdir()
    (tmp_path / "elsewhere").mkdir()
    aged(tmp_path / "elsewhere")
    (tmp_path / f"{scratch.PREFIX}link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / f"{scratch.PREFIX}file").touch()
    assert scratch.clean() == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{scratch.PREFIX}file",
        f"{scratch.PREFIX}link",
        f"{scratch.PREFIX}new",
        "elsewhere",
    ]


def test_a_folder_goes_with_its_training(tmp_path: Path) -> None:
    with scratch.scratch() as folder:
        assert folder.parent == tmp_path
    assert not folder.exists()
