"""The gateway as the process that `biosegment up` starts."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from biosegment.cli.up.ports import free_ports
from biosegment.client.connection import Connection


def gateway(**settings: str) -> "subprocess.Popen[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BIOSEGMENT_")}
    return subprocess.Popen(
        [sys.executable, "-m", "biosegment.gateway"],
        env=environment | settings,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_serves_without_a_bus_and_stops_when_told(tmp_path: Path) -> None:
    path = tmp_path / "connection.json"
    Connection(token="t", addresses={"*": "127.0.0.1:1"}).save(path)
    (port,) = free_ports(1)
    process = gateway(
        BIOSEGMENT_CONNECTION=str(path), BIOSEGMENT_GATEWAY_LISTEN=f"127.0.0.1:{port}"
    )
    end = time.monotonic() + 60
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/version") as answer:
                    assert answer.status == 200
                break
            except OSError:
                assert time.monotonic() < end
                assert process.poll() is None
                time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert "Traceback" not in log
    assert process.returncode in (0, -signal.SIGTERM)


@pytest.mark.parametrize(
    ("settings", "status", "sentence"),
    [
        ({}, 2, "gateway: setting BIOSEGMENT_CONNECTION: Field required"),
        (
            {"BIOSEGMENT_CONNECTION": "/none/c.json"},
            1,
            "gateway: No platform is known at /none/c.json.",
        ),
        (
            {"BIOSEGMENT_CONNECTION": "c", "BIOSEGMENT_GATEWAY_LISTEN": "8787"},
            2,
            "gateway: setting BIOSEGMENT_GATEWAY_LISTEN:",
        ),
    ],
)
def test_wrong_settings_are_one_sentence(
    settings: dict[str, str], status: int, sentence: str
) -> None:
    process = gateway(**settings)
    _, log = process.communicate(timeout=60)
    assert process.returncode == status
    assert log.startswith(sentence)
    assert len(log.splitlines()) == 1
