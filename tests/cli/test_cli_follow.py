"""Following a job while the platform goes away and comes back."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.client.sdk_platform import JOB, InMemoryPlatform

from biosegment.cli import follow
from biosegment.client import Client
from biosegment.client.connection import Connection
from biosegment.client.errors import UnavailableError
from biosegment.client.loop import SHARED
from biosegment.v1 import jobs_pb2


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


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.02)


class Following(threading.Thread):
    """Follows the job as `biosegment job watch` does."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.ended: jobs_pb2.Job | None = None
        self._path = path

    def run(self) -> None:
        with Client(Connection.load(self._path)) as client:
            self.ended = follow._follow(client, client.job(JOB))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(follow, "tell", lines.append)
    return lines


def test_a_platform_that_is_gone_is_told_of_at_once_and_once(
    platform: InMemoryPlatform, tmp_path: Path, said: list[str]
) -> None:
    platform.connection.save(tmp_path / "connection.json")
    following = Following(tmp_path / "connection.json")
    following.start()
    SHARED.run(platform.jobs.watched())
    for times in (1, 2):
        SHARED.run(platform.stop())
        # Long before patience ends, and before it is back.
        until(lambda times=times: sum("cannot be reached" in line for line in said) == times)
        gone = said[-1]
        assert f"{JOB} goes on once the platform is back" in gone
        assert "biosegment up" in gone
        SHARED.run(platform.start())
        until(lambda times=times: said.count("The platform is back.") == times)
    SHARED.run(platform.jobs.change(state=jobs_pb2.JOB_STATE_SUCCEEDED))
    following.join(30)
    assert following.ended is not None
    assert following.ended.state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert len([line for line in said if "cannot be reached" in line]) == 2


def test_a_platform_that_was_stopped_in_order_is_told_as_such(
    platform: InMemoryPlatform, tmp_path: Path, said: list[str]
) -> None:
    path = tmp_path / "connection.json"
    platform.connection.save(path)
    following = Following(path)
    following.start()
    SHARED.run(platform.jobs.watched())
    path.unlink()
    SHARED.run(platform.stop())
    until(lambda: any("the platform was stopped" in line for line in said))
    SHARED.run(platform.start())
    SHARED.run(platform.jobs.change(state=jobs_pb2.JOB_STATE_SUCCEEDED))
    following.join(30)
    assert following.ended is not None


def test_patience_ends(
    platform: InMemoryPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away: list[str] = []
    platform.connection.save(tmp_path / "connection.json")
    with Client(Connection.load(tmp_path / "connection.json")) as client:
        changes = client.watch(JOB, patience=0.1, on_away=lambda error: away.append(error.message))
        assert next(changes).name == JOB
        SHARED.run(platform.stop())
        with pytest.raises(UnavailableError):
            list(changes)
    assert len(away) <= 1
    SHARED.run(platform.start())
