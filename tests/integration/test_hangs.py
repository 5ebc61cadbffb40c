"""Processes of the platform that are stopped, and by that answer nobody though they are there."""

import signal
from pathlib import Path

import pytest

from biosegment.cli.up import watch
from biosegment.cli.up.platform import Options, Platform
from biosegment.client import Client
from biosegment.client.errors import DomainError
from tests.integration.conftest import wait_until

_HANGING = ("nats", "registry", "gateway")


def test_what_hangs_is_started_anew_at_the_same_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PROBE_SECONDS", 3.0)
    options = Options(home=tmp_path, import_roots=[tmp_path], export_roots=[tmp_path])
    with Platform(options) as platform, Client(platform.connection) as client:
        before = {name: platform.process(name) for name in _HANGING}
        for name in _HANGING:
            platform.kill(name, signal.SIGSTOP)
        for name, pid in before.items():
            wait_until(lambda name=name, pid=pid: platform.process(name) not in (None, pid), 120)
            assert f"killed process {pid}: it hangs" in platform.log(name).read_text()

        def answered() -> bool:
            try:
                return client.put_label_class(1, "mitochondria").value == 1
            except DomainError:
                return False

        wait_until(answered)
