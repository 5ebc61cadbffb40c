"""What `biosegment up` says to type next."""

from pathlib import Path

import pytest

from biosegment.cli.up.command import _first_command

IMPORT = "biosegment import IMAGE.tif --dataset NAME --voxel-size Z,Y,X\n"


def test_the_default_home_needs_nothing_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIOSEGMENT_HOME", str(tmp_path))
    assert _first_command(tmp_path / "connection.json") == f"Next, in another shell: {IMPORT}"


def test_another_home_is_named_as_a_shell_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIOSEGMENT_HOME", str(tmp_path))
    said = _first_command(tmp_path / "my home" / "connection.json")
    line = f"export BIOSEGMENT_CONNECTION='{tmp_path}/my home/connection.json'"
    assert said == f"Next, in another shell: {line}\n  then: {IMPORT}"
