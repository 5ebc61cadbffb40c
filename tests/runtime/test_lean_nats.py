"""Services do not pay for what nats needs for websockets."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["bus", "provision", "worker", "app"])
def test_aiohttp_is_left_out_and_can_still_be_had(module: str) -> None:
    code = f"""
import importlib, sys
importlib.import_module("biosegment.runtime.{module}")
assert "nats.aio.client" in sys.modules
assert "aiohttp" not in sys.modules
import nats.aio.transport
assert nats.aio.transport.aiohttp is None
try:
    import aiohttp
except ModuleNotFoundError as error:
    assert "halted" not in str(error)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_is_imported_already_stays() -> None:
    code = """
import sys, types
sys.modules["aiohttp"] = here = types.ModuleType("aiohttp")
here.ClientSession = object
import biosegment.runtime.lean_nats
assert sys.modules["aiohttp"] is here
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
