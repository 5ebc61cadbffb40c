"""A platform in memory and the command line against it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.client.sdk_platform import InMemoryPlatform
from typer.testing import CliRunner

from biosegment.cli.app import app
from biosegment.client.loop import SHARED


@pytest.fixture
def platform() -> Iterator[InMemoryPlatform]:
    async def start() -> InMemoryPlatform:
        made = InMemoryPlatform()
        await made.start()
        return made

    made = SHARED.run(start())
    # The servers' log lines are theirs, not the command's.
    with capture_logs():
        yield made
    SHARED.run(made.stop())


@pytest.fixture
def run(platform: InMemoryPlatform, tmp_path: Path) -> Callable[..., Any]:
    path = tmp_path / "connection.json"
    platform.connection.save(path)
    runner = CliRunner()

    def invoke(*arguments: str) -> Any:
        return runner.invoke(app, ["--connection", str(path), *arguments])

    return invoke
