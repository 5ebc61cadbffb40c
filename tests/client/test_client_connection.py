"""The connection file, and imports that stay cheap."""

import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from biosegment.client import Connection
from biosegment.client.errors import (
    ERRORS,
    DomainError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
    error_of,
    error_of_code,
)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "connection.json"
    made = Connection(token="t", addresses={"registry": "a:1"}, gateway_url="http://g")
    made.save(path)
    made.save(path)
    assert Connection.load(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "t'" not in repr(made)
    assert list(path.parent.iterdir()) == [path]


def test_it_is_found_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BIOSEGMENT_CONNECTION", raising=False)
    monkeypatch.setenv("BIOSEGMENT_HOME", str(tmp_path))
    with pytest.raises(NotFoundError, match="biosegment up"):
        Connection.load()
    Connection(token="home", addresses={}).save(tmp_path / "connection.json")
    assert Connection.load().token == "home"
    Connection(token="named", addresses={}).save(tmp_path / "other.json")
    monkeypatch.setenv("BIOSEGMENT_CONNECTION", str(tmp_path / "other.json"))
    assert Connection.load().token == "named"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"token": "t", "addresses": 3}', "\x00"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(InvalidArgumentError, match="is not a connection file"):
        Connection.load(path)


def test_a_service_without_address_is_named() -> None:
    assert Connection(token="", addresses={"*": "x:1"}).address("training") == "x:1"
    with pytest.raises(NotFoundError, match="training"):
        Connection(token="", addresses={}).address("training")


@pytest.mark.parametrize("reason", sorted(ERRORS))
def test_errors_survive_pickling(reason: str) -> None:
    error = pickle.loads(pickle.dumps(error_of(reason, "why", {"a": "1"})))
    assert type(error) is ERRORS[reason]
    assert (error.message, error.metadata) == ("why", {"a": "1"})


def test_reasons_that_nobody_knows_are_still_domain_errors() -> None:
    assert type(error_of("OS_SYSTEM", "m", {})) is DomainError
    assert type(error_of_code("UNAVAILABLE", "m")) is UnavailableError
    assert type(error_of_code("DATA_LOSS", "m")) is DomainError


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import biosegment.client, sys; print(*sorted(sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(answer.stdout.split())
    assert "biosegment.client" in loaded
    assert not loaded & {"grpc", "numpy", "google.protobuf", "torch", "sqlalchemy"}
