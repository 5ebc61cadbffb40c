"""Peers that do not finish what they begin, and whether others are answered meanwhile.

``python -m tests.chaos.border [--seconds 20] [--connections 1000]`` starts the platform on
loopback, and inflicts on it, one after the other and each for so many seconds: connections that
never finish a request (gateway, and gRPC of registry and storage), requests that are refused,
streams that are slow to send and to take, and imports of files that block. Meanwhile innocents ask
the gateway, the record and the arrays ten times a second. The last line is one JSON object: the
waits of the innocents in milliseconds by attack, and how much the logs grew; the exit status is 1
if one in a hundred waited a second or more, if one was refused, or if a log grew by 10 MB.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
import tifffile

from biosegment.cli.up.platform import Options, Platform
from biosegment.client import AsyncClient, Client
from biosegment.client.connection import Connection
from biosegment.client.errors import DomainError
from biosegment.client.geometry import Box
from biosegment.client.stubs import AsyncStubs, SyncStubs
from biosegment.runtime import objects
from biosegment.runtime.files import allow_files
from biosegment.v1 import registry_pb2, storage_pb2

_PAUSE = 0.1
_PATIENCE = 10.0
_LOG_BYTES = 10 << 20
_WORST = 1.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_OBJECT = "projects/default/objects/border/m.bin"
_OBJECT_BYTES = 64 << 20


class Stand:
    """The platform under attack."""

    def __init__(self, connection: Connection, folder: Path, connections: int) -> None:
        self.connection = connection
        self.folder = folder
        self.connections = connections

    async def half_open(self, address: str, sent: list[bytes]) -> None:
        """Keeps connections open that have sent the beginning of a request; until cancelled."""
        host, _, port = address.rpartition(":")

        async def one(number: int) -> None:
            while True:
                with contextlib.suppress(OSError):
                    reader, writer = await asyncio.open_connection(host, int(port))
                    try:
                        writer.write(sent[number % len(sent)])
                        while await reader.read(1 << 16):
                            pass
                    finally:
                        writer.transport.abort()
                await asyncio.sleep(0.5)

        await asyncio.gather(*(one(number) for number in range(self.connections)))

    async def gateway(self) -> None:
        """Half-open connections to the gateway."""
        begun = [b"", b"GET /version HT", b"GET /health HTTP/1.1\r\nHost: x\r\nX-"]
        begun.append(b"POST /version HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na")
        await self.half_open(self.connection.gateway_url.removeprefix("http://"), begun)

    async def grpc(self) -> None:
        """Half-open connections to two services."""
        begun = [b"", _PREFACE[:9], _PREFACE, _PREFACE + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"]
        await asyncio.gather(
            *(
                self.half_open(self.connection.address(service), begun)
                for service in ("registry", "storage")
            )
        )

    async def refused(self) -> None:
        """Requests that are refused, as fast as they are, by four peers."""
        stranger = Connection(token="wrong", addresses=self.connection.addresses)
        host, _, port = self.connection.gateway_url.removeprefix("http://").rpartition(":")

        async def calls() -> None:
            async with AsyncStubs(stranger) as stubs:
                while True:
                    with contextlib.suppress(DomainError):
                        await stubs.registry.ListProjects(registry_pb2.ListProjectsRequest())
                    await asyncio.sleep(0.01)

        async def nonsense() -> None:
            while True:
                with contextlib.suppress(OSError):
                    reader, writer = await asyncio.open_connection(host, int(port))
                    writer.write(b"NONSENSE\r\n\r\n")
                    await reader.read()
                    writer.close()
                await asyncio.sleep(0.01)

        await asyncio.gather(calls(), calls(), nonsense(), nonsense())

    async def slow_streams(self) -> None:
        """Streams that stop after their first message, in and out, by somebody with the token."""

        async def stalled() -> AsyncIterator[storage_pb2.WriteObjectRequest]:
            yield storage_pb2.WriteObjectRequest(name=_OBJECT + ".slow", size_bytes=1000)
            await asyncio.Event().wait()

        async with AsyncStubs(self.connection) as stubs:

            async def send() -> None:
                while True:
                    with contextlib.suppress(DomainError):
                        await stubs.storage.WriteObject(stalled())
                    await asyncio.sleep(0.5)

            async def take() -> None:
                while True:
                    with contextlib.suppress(DomainError, StopAsyncIteration):
                        stream = stubs.storage.ReadObject(
                            storage_pb2.ReadObjectRequest(name=_OBJECT)
                        )
                        await anext(stream)
                        await asyncio.sleep(5)
                        await stream.aclose()
                    await asyncio.sleep(0.5)

            await asyncio.gather(*(work() for _ in range(40) for work in (send, take)))

    async def blocking_imports(self) -> None:
        """Imports of files that block whoever opens them."""
        async with AsyncClient(self.connection) as client:

            async def start(number: int) -> None:
                fifo = self.folder / f"fifo-{number}.tif"
                os.mkfifo(fifo)
                while True:
                    with contextlib.suppress(DomainError):
                        await client.import_volume(fifo, dataset=f"d{number}")
                    await asyncio.sleep(1)

            await asyncio.gather(*(start(number) for number in range(20)))


class Innocents:
    """People who ask for what they always ask for."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.waits: dict[str, list[float]] = defaultdict(list)
        self.refused: list[str] = []

    async def ask(self) -> None:
        """Asks until cancelled."""
        async with AsyncClient(self._connection) as client:
            box = Box.of_shape((1, 64, 64))
            await asyncio.gather(
                self._again("gateway", self._version),
                self._again("record", client.projects),
                self._again("arrays", lambda: client.read("em", box)),
                self._again("newcomer", self._newcomer),
                self._again("upload", lambda: self._upload(client)),
            )

    async def _again(self, who: str, call: Callable[[], Awaitable[object]]) -> None:
        while True:
            began = time.perf_counter()
            try:
                async with asyncio.timeout(_PATIENCE):
                    await call()
            except (DomainError, OSError, TimeoutError) as error:
                self.refused.append(f"{who}: {error or type(error).__name__}")
            self.waits[who].append(time.perf_counter() - began)
            await asyncio.sleep(_PAUSE)

    async def _version(self) -> None:
        # A fresh connection each time.
        url = f"{self._connection.gateway_url}/version"
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        await asyncio.to_thread(lambda: direct.open(url, timeout=_PATIENCE).read())

    async def _newcomer(self) -> None:
        async with AsyncClient(self._connection) as client:
            await client.projects(limit=1)

    async def _upload(self, client: AsyncClient) -> None:
        async def messages() -> AsyncIterator[storage_pb2.WriteObjectRequest]:
            for message in objects.messages(_OBJECT + ".small", b"x" * 10_000):
                yield message

        await client.stubs.storage.WriteObject(messages())


def figures(waits: dict[str, list[float]]) -> dict[str, float]:
    """The middle, the worst in a hundred and the worst of all waits, in milliseconds."""
    together = [wait for each in waits.values() for wait in each]
    p50, p99 = np.percentile(together, [50, 99])
    made = {"p50": p50, "p99": p99, "max": max(together)}
    return {name: round(float(wait) * 1000, 1) for name, wait in made.items()} | {
        "requests": len(together)
    }


ATTACKS = ("gateway", "grpc", "refused", "slow_streams", "blocking_imports")


def attack(name: str, connection: Connection, folder: Path, connections: int) -> None:
    """Attacks until it is killed; in a process of its own, so as not to delay the innocents."""
    allow_files(4 * connections + 1000)
    asyncio.run(getattr(Stand(connection, folder, connections), name)())


def during(name: str | None, stand: Stand, seconds: float) -> Innocents:
    """What innocents meet during an attack."""
    attacker = None
    if name is not None:
        given = (name, stand.connection, stand.folder, stand.connections)
        attacker = multiprocessing.get_context("spawn").Process(target=attack, args=given)
        attacker.start()
    innocents = Innocents(stand.connection)

    async def ask() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(innocents.ask(), seconds)

    try:
        asyncio.run(ask())
        if attacker is not None and not attacker.is_alive():
            raise RuntimeError(f"the attack {name} ended by itself")
    finally:
        if attacker is not None:
            attacker.kill()
            attacker.join()
    return innocents


def run(stand: Stand, seconds: float) -> dict[str, dict[str, float]]:
    """The figures of each attack, and of the peace before and after."""
    found = {}
    for name in ("before", *ATTACKS, "after"):
        innocents = during(name if name in ATTACKS else None, stand, seconds)
        found[name] = figures(innocents.waits) | {"refused": len(innocents.refused)}
        print(name, json.dumps(found[name]), *sorted(set(innocents.refused))[:3], flush=True)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Runs all attacks and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--connections", type=int, default=1000)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="border-") as name:
        folder = Path(name)
        noise = np.random.default_rng(1).integers(0, 255, (8, 128, 128), np.uint8)
        tifffile.imwrite(folder / "raw.tif", noise, photometric="minisblack")
        options = Options(home=folder / "home", import_roots=[folder], export_roots=[folder])
        with Platform(options) as platform:
            with Client(platform.connection) as client:
                job = client.import_volume(
                    folder / "raw.tif", dataset="em", voxel_size=(50.0, 5.0, 5.0)
                )
                client.wait(job)
            before = {log.name: log.stat().st_size for log in platform.home.logs.iterdir()}

            with SyncStubs(platform.connection) as stubs:
                stubs.storage.WriteObject(objects.messages(_OBJECT, bytes(_OBJECT_BYTES)))
            stand = Stand(platform.connection, folder, given.connections)
            found = run(stand, given.seconds)
            grown = {
                log.name: log.stat().st_size - before.get(log.name, 0)
                for log in platform.home.logs.iterdir()
            }
            for fifo in folder.glob("fifo-*"):
                # Whoever waits in open(2) is let go.
                with contextlib.suppress(OSError):
                    os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    worst = max(each["p99"] for name, each in found.items() if name in ATTACKS)
    result = {
        "connections": given.connections,
        "seconds": given.seconds,
        "attacks": found,
        "worst_p99_ms": worst,
        "refused": sum(each["refused"] for each in found.values()),
        "largest_log_bytes": max(grown.values()),
    }
    print(json.dumps(result))
    good = worst < 1000 * _WORST and not result["refused"]
    return 0 if good and result["largest_log_bytes"] < _LOG_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
