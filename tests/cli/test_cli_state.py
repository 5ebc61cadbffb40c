"""`biosegment status`: a platform that works, in parts, another one, or none."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.client.sdk_platform import InMemoryPlatform
from typer.testing import CliRunner

from biosegment.cli.app import app
from biosegment.client.connection import Connection
from biosegment.client.loop import SHARED


@pytest.fixture
def platform() -> Iterator[InMemoryPlatform]:
    async def start() -> InMemoryPlatform:
        made = InMemoryPlatform()
        await made.start()
        return made

    made = SHARED.run(start())
    with capture_logs():
        yield made
    SHARED.run(made.stop())


def status(home: Path, connection: Connection) -> Any:
    connection.save(home / "connection.json")
    command = ["--connection", str(home / "connection.json"), "--json", "status"]
    return CliRunner().invoke(app, command)


def test_all_is_well(platform: InMemoryPlatform, tmp_path: Path) -> None:
    well = status(tmp_path, platform.connection)
    assert well.exit_code == 0
    answers = json.loads(well.stdout)
    assert answers.pop("token") == "accepted"
    assert set(answers.values()) == {"serving"}
    assert well.stderr == ""


@pytest.mark.parametrize("log", [True, False])
def test_a_part_is_down_and_its_log_is_named_where_there_is_one(
    platform: InMemoryPlatform, tmp_path: Path, log: bool
) -> None:
    addresses = {**platform.connection.addresses, "storage": "127.0.0.1:1"}
    if log:
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs/storage.log").touch()
    ill = status(tmp_path, Connection(token="t", addresses=addresses))
    assert ill.exit_code == 1
    assert json.loads(ill.stdout)["storage"] == "unreachable"
    where = f"; {tmp_path}/logs/storage.log say why" if log else ""
    assert ill.stderr == f"Error: storage cannot be used now{where}.\n"


@pytest.mark.parametrize("token", ["", "another", "tt"])
def test_a_wrong_token_is_no_healthy_platform(
    platform: InMemoryPlatform, tmp_path: Path, token: str
) -> None:
    wrong = status(tmp_path, Connection(token=token, addresses=platform.connection.addresses))
    assert wrong.exit_code == 4
    assert json.loads(wrong.stdout)["token"] == "refused"
    assert f"refuses the token in {tmp_path}/connection.json" in wrong.stderr


def test_the_registry_away_leaves_the_token_unknown(
    platform: InMemoryPlatform, tmp_path: Path
) -> None:
    addresses = {**platform.connection.addresses, "registry": "127.0.0.1:1"}
    ill = status(tmp_path, Connection(token="t", addresses=addresses))
    assert ill.exit_code == 1
    assert json.loads(ill.stdout)["token"] == "unknown"


@pytest.mark.parametrize(
    ("noted", "said"),
    [
        ("A gateway is up\nB stopping everything: registry ended\nC stopped\n", ": C stopped."),
        ("A starting\nB gateway is up\n", ": B gateway is up (and then it was killed)."),
        ("", ": nothing."),
    ],
)
def test_a_dead_platform_says_where_its_end_is_noted(tmp_path: Path, noted: str, said: str) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/up.log").write_text(noted)
    dead = status(tmp_path, Connection(token="t", addresses={"*": "127.0.0.1:1"}))
    assert dead.exit_code == 3
    assert "it has stopped or died" in dead.stderr
    assert f"{tmp_path}/logs/up.log says how it ended{said}" in dead.stderr
    assert f"biosegment up --home {tmp_path}\n" in dead.stderr


def test_a_stale_file_of_somebody_elses_says_less(tmp_path: Path) -> None:
    dead = status(tmp_path, Connection(token="t", addresses={"*": "127.0.0.1:1"}))
    assert dead.exit_code == 3
    assert dead.stderr.endswith("it has stopped or died. Start it again with: biosegment up\n")
