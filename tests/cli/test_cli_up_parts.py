"""Home, ports and the NATS server of `biosegment up`."""

import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from biosegment.cli.up import nats
from biosegment.cli.up.home import Home
from biosegment.cli.up.platform import Options, Platform
from biosegment.cli.up.ports import free_ports, kept_ports, listening
from biosegment.client.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)


def test_two_cannot_have_one_home(tmp_path: Path) -> None:
    first, second = Home(tmp_path / "h"), Home(tmp_path / "h")
    first.lock()
    with pytest.raises(FailedPreconditionError, match=r"already runs on .*\(process \d+\)"):
        second.lock()
    first.unlock()
    second.lock()
    second.unlock()


def test_a_home_is_private_and_keeps_its_token(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    home.lock()
    token = home.secret("token")
    home.unlock()
    assert len(token) >= 40
    assert Home(tmp_path / "h").secret("token") == token
    assert Home(tmp_path / "h").secret("other") != token
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((home.folder / "token").stat().st_mode) == 0o600


def test_a_home_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgumentError, match="cannot be the platform's home"):
        Home(tmp_path / "file" / "h").lock()


def test_free_ports_differ_and_nobody_listens() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert not any(listening("127.0.0.1", port) for port in ports)


def test_the_server_that_is_named_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program(name: str, version: str) -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\necho 'nats-server: {version}'\n")
        path.chmod(0o755)
        return path

    new = program("new", "v2.11.4")
    monkeypatch.setenv("BIOSEGMENT_NATS_SERVER", str(new))
    assert nats.find_server() == str(new)
    for named, why in [
        (program("old", "v2.9.25"), "at least 2.10"),
        (program("odd", "soup"), "at least 2.10"),
        (tmp_path / "none", "is no program"),
    ]:
        monkeypatch.setenv("BIOSEGMENT_NATS_SERVER", str(named))
        with pytest.raises(FailedPreconditionError, match=why):
            nats.find_server()


def test_the_server_takes_the_configuration(tmp_path: Path) -> None:
    folder = tmp_path / 'with "quotes" and spaces'
    path = nats.write_config(folder, 4999, "a-token_x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    answer = subprocess.run(
        [nats.find_server(), "-c", str(path), "-t"], capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 0, answer.stderr


def test_a_platform_that_does_not_run_says_so(tmp_path: Path) -> None:
    platform = Platform(Options(home=tmp_path))
    for ask in (lambda: platform.connection, lambda: platform.process("nats"), platform.wait):
        with pytest.raises(FailedPreconditionError, match="does not run"):
            ask()
    platform.stop()


def test_a_platform_that_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    platform = Platform(Options(home=tmp_path / "h", import_roots=[tmp_path / "none"]))
    with pytest.raises(NotFoundError, match="is not a folder"):
        platform.start()
    assert not platform.connection_path.exists()
    Home(tmp_path / "h").lock()


def test_up_refuses_in_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "biosegment.cli", "up", "--home", str(tmp_path)]
    answer = subprocess.run(
        [*command, "--log-level", "loud"], capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 1
    assert answer.stderr == "Error: --log-level must be one of debug, info, warning, error.\n"


def test_a_disk_that_was_full_is_told_of_once_when_it_has_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    was_full = nats.WasFull(tmp_path)
    told = []
    for free in (1 << 30, 0, 1 << 21, 1 << 30, 1 << 30):
        usage = shutil.disk_usage(tmp_path)._replace(free=free)
        monkeypatch.setattr(nats.shutil, "disk_usage", lambda _folder, usage=usage: usage)
        told.append(was_full())
    assert told == [False, False, False, True, False]


def test_a_folder_that_was_there_keeps_its_rights(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o755)
    home = Home(folder)
    home.lock()
    home.secret("token")
    home.prepare_record()
    home.unlock()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    for made in (home.logs, home.nats):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    for kept in ("token", "registry.sqlite"):
        assert stat.S_IMODE((folder / kept).stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["labs.csv", "data", "store.zarr"])
def test_a_folder_of_other_files_is_no_home_and_stays_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / "logs").mkdir()
    before = stat.S_IMODE(tmp_path.stat().st_mode)
    with pytest.raises(FailedPreconditionError, match=f"holds other files .{name}.*--home"):
        Home(tmp_path).lock()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["logs", name])
    assert stat.S_IMODE(tmp_path.stat().st_mode) == before


@pytest.mark.parametrize("names", [[], ["lost+found"], [".snapshot"], ["logs", "store-sessions"]])
def test_an_empty_disk_can_be_a_home(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).mkdir()
    home = Home(tmp_path)
    home.lock()
    home.unlock()


def test_a_home_in_which_somebody_keeps_notes_stays_a_home(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    home.lock()
    token = home.secret("token")
    home.unlock()
    (home.folder / "README.txt").touch()
    again = Home(tmp_path / "h")
    again.lock()
    again.discard()
    again.unlock()
    assert again.secret("token") == token


@pytest.mark.parametrize("existed", [True, False])
def test_a_first_start_that_fails_leaves_no_half_made_home(tmp_path: Path, existed: bool) -> None:
    if existed:
        (tmp_path / "h").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = Options(home=tmp_path / "h", gateway_port=taken.getsockname()[1])
        with pytest.raises(FailedPreconditionError, match="is taken; choose another with"):
            Platform(options).start()
    assert not (tmp_path / "h").exists()


def test_a_later_start_that_fails_leaves_the_home_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    home.lock()
    token = home.secret("token")
    home.unlock()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = Options(home=tmp_path / "h", gateway_port=taken.getsockname()[1])
        with pytest.raises(FailedPreconditionError, match="is taken"):
            Platform(options).start()
    assert home.secret("token") == token


def test_what_never_ran_removes_nothing_of_what_runs(tmp_path: Path) -> None:
    running = Home(tmp_path)
    running.lock()
    running.connection.write_text("{}")
    Platform(Options(home=tmp_path)).stop()
    with pytest.raises(FailedPreconditionError, match="already runs"):
        Platform(Options(home=tmp_path)).start()
    assert running.connection.exists()
    running.unlock()


def test_ports_are_kept_and_told_of_when_they_cannot_be(tmp_path: Path) -> None:
    note = tmp_path / "ports.json"
    first, lost = kept_ports(note, ["a", "b"])
    assert lost == []
    assert kept_ports(note, ["a", "b"]) == (first, [])
    more, lost = kept_ports(note, ["a", "b", "c"])
    assert lost == []
    assert {"a": more["a"], "b": more["b"]} == first
    with socket.create_server(("127.0.0.1", first["b"])):
        others, lost = kept_ports(note, ["a", "b", "c"])
    assert lost == ["b"]
    assert others["b"] != first["b"]
    assert others["a"] == first["a"]
    assert kept_ports(note, ["a", "b", "c"]) == (others, [])


def test_a_port_with_connections_of_the_last_time_is_kept(tmp_path: Path) -> None:
    note = tmp_path / "ports.json"
    ports, _ = kept_ports(note, ["a"])
    with (
        socket.create_server(("127.0.0.1", ports["a"])) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        served, _ = server.accept()
        served.close()  # The server's side first: its port lingers.
        client.recv(1)
    assert kept_ports(note, ["a"]) == (ports, [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"folder": "HERE"}',
        '{"folder": "HERE", "ports": {"a": 70000}}',
        '{"folder": "HERE", "ports": {"a": "x"}}',
        '{"folder": "HERE", "ports": {"a": 20001, "b": 20001}}',
        '{"folder": "/another/home", "ports": {"a": 20001, "b": 20002}}',
    ],
)
def test_a_note_of_ports_that_says_nothing_useful_is_no_trouble(tmp_path: Path, text: str) -> None:
    note = tmp_path / "ports.json"
    note.write_text(text.replace("HERE", str(tmp_path)))
    ports, lost = kept_ports(note, ["a", "b"])
    assert len({*ports.values()}) == 2
    assert lost == []
    assert ports["a"] != 20001
