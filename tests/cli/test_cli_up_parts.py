"""Home, ports and the NATS server of `biosegment up`."""

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from biosegment.cli.up import nats
from biosegment.cli.up.home import Home
from biosegment.cli.up.platform import Options, Platform
from biosegment.cli.up.ports import free_ports, listening
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


def test_a_home_keeps_to_the_store_that_its_record_is_about(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    home.lock()
    assert home.place_of_store(None) == str(tmp_path / "h" / "store")
    assert home.place_of_store("s3://lab/bio/") == "s3://lab/bio"
    home.keep_place_of_store("s3://lab/bio")
    assert home.place_of_store(None) == "s3://lab/bio"
    assert home.place_of_store("s3://lab/bio/") == "s3://lab/bio"
    with pytest.raises(FailedPreconditionError, match="about arrays in s3://lab/bio, not in"):
        home.place_of_store(str(tmp_path / "elsewhere"))
    home.unlock()


def test_a_home_from_before_stores_could_be_elsewhere_has_its_arrays_within(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path / "h")
    home.store.mkdir(parents=True)
    with pytest.raises(FailedPreconditionError, match="not in s3://lab/bio"):
        home.place_of_store("s3://lab/bio")
    assert home.place_of_store(str(home.store)) == str(home.store)
