"""Peers that open connections and do not finish what they began, on real sockets."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Response
from tests.client.sdk_platform import InMemoryPlatform

from biosegment.client.connection import Connection
from biosegment.gateway import connections
from biosegment.gateway.app import make_app
from biosegment.gateway.connections import Limits, guarded

PATIENT = Limits(header_seconds=60, body_seconds=60, reading_seconds=60)
LARGE = 32 << 20


class Gateway:
    def __init__(self, port: int, app: FastAPI) -> None:
        self.port = port
        self.app = app

    async def connect(self, sent: bytes = b"") -> "Peer":
        """A connection that has sent so much."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        await writer.drain()
        return Peer(reader, writer)

    async def answers(self) -> bool:
        """Whether somebody else gets an answer."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}") as http:
            return (await http.get("/version")).status_code == 200


class Peer:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def was_closed(self) -> bytes:
        """Waits until the other side has closed; what came before."""
        got = b""
        async with asyncio.timeout(30):
            try:
                while part := await self.reader.read(1 << 16):
                    got += part
            except ConnectionError:
                pass
        self.writer.close()
        return got

    def is_open(self) -> bool:
        return not self.reader.at_eof() and self.reader.exception() is None


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Limits], Gateway]]:
    running: list[tuple[uvicorn.Server, asyncio.Task[None]]] = []

    async def start(limits: Limits) -> Gateway:
        app = make_app(Connection(token="t", addresses={"*": "127.0.0.1:1"}))

        @app.get("/large")
        async def large() -> Response:
            return Response(b"x" * LARGE)

        @app.get("/slow")
        async def slow() -> str:
            await app.state.release.wait()
            return "done"

        app.state.release = asyncio.Event()
        listening = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(app, http=guarded(limits), log_config=None, lifespan="off")
        server = uvicorn.Server(config)
        server.capture_signals = no_signals  # type: ignore[method-assign]
        running.append((server, asyncio.create_task(server.serve([listening]))))
        return Gateway(listening.getsockname()[1], app)

    yield start
    for server, task in running:
        server.should_exit = server.force_exit = True
        await task


def no_signals() -> contextlib.AbstractContextManager[None]:

    return contextlib.nullcontext()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /version HT",
        b"GET /version HTTP/1.1\r\nHost: x\r\nX-",
        b"\r\n\r\n",
        b"POST /version HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
        b"POST /version HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
)
async def test_a_request_that_is_not_finished_is_not_waited_for(serve, sent: bytes) -> None:
    gateway = await serve(replace(PATIENT, header_seconds=0.2, body_seconds=0.2))
    peer = await gateway.connect(sent)
    await peer.was_closed()
    assert await gateway.answers()


async def test_a_byte_now_and_then_does_not_keep_a_connection(serve) -> None:
    gateway = await serve(replace(PATIENT, header_seconds=0.5))
    peer = await gateway.connect(b"GET /version HTTP/1.1\r\n")
    closed = asyncio.create_task(peer.was_closed())
    while not closed.done():
        peer.writer.write(b"X: y\r\n")
        await asyncio.sleep(0.05)
    await closed


async def test_a_connection_may_wait_and_then_ask_twice(serve) -> None:
    gateway = await serve(PATIENT)
    peer = await gateway.connect()
    for _ in range(2):
        peer.writer.write(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await peer.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        await peer.reader.readexactly(length)
    peer.writer.close()


async def test_a_second_request_that_is_not_finished_is_not_waited_for(serve) -> None:
    gateway = await serve(replace(PATIENT, header_seconds=0.3))
    peer = await gateway.connect(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\nGET /ver")
    assert (await peer.was_closed()).startswith(b"HTTP/1.1 200")


async def test_an_answer_that_is_not_read_is_given_up(serve, eventually) -> None:
    gateway = await serve(replace(PATIENT, reading_seconds=0.3))
    peer = await gateway.connect(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    await peer.reader.readexactly(1)
    # What the stream reader took by itself is far less than the answer.
    peer.writer.transport.pause_reading()
    await eventually(lambda: answering(0))
    peer.writer.transport.abort()


async def answering(count: int) -> bool:
    """Whether the gateway is answering so many requests."""
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return sum("run_asgi" in name for name in names) == count


async def test_the_one_that_waited_longest_makes_room(serve) -> None:
    gateway = await serve(replace(PATIENT, connections=20))
    peers = [await gateway.connect(b"GET /") for _ in range(20)]
    assert await gateway.answers()
    await peers[0].was_closed()
    assert all(peer.is_open() for peer in peers[1:])
    for peer in peers:
        peer.writer.close()


async def test_one_address_makes_room_among_its_own(serve) -> None:
    gateway = await serve(replace(PATIENT, connections_per_address=5))
    peers = [await gateway.connect(b"GET /") for _ in range(8)]
    for peer in peers[:3]:
        await peer.was_closed()
    assert await gateway.answers()
    for peer in peers:
        peer.writer.close()


async def test_what_is_being_answered_is_never_closed_to_make_room(serve, eventually) -> None:
    gateway = await serve(replace(PATIENT, connections=3))
    request = b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    working = [await gateway.connect(request) for _ in range(3)]
    await eventually(lambda: answering(3))
    refused = await gateway.connect(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await refused.was_closed() == b""
    gateway.app.state.release.set()
    for peer in working:
        assert b"done" in await peer.was_closed()
    assert await gateway.answers()


async def test_hundreds_of_half_requests_do_not_keep_others_from_an_answer(serve) -> None:
    gateway = await serve(replace(PATIENT, connections=64, connections_per_address=64))
    peers = []
    for _ in range(400):
        peers.append(await gateway.connect(b"GET /version HTTP/1.1\r\n"))
        if len(peers) % 50 == 0:
            assert await gateway.answers()
    for peer in peers[:300]:
        await peer.was_closed()
    for peer in peers:
        peer.writer.close()


def test_an_ipv6_peer_is_its_network() -> None:
    group = connections._group
    assert group("2001:db8:1:2::1") == group("2001:db8:1:2:ffff::9")
    assert group("2001:db8:1:3::1") != group("2001:db8:1:2::1")
    assert group("fe80::1%eth0") == group("fe80::2")
    assert group("192.0.2.1") == "192.0.2.1"


async def test_health_asks_the_services_once_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    platform = InMemoryPlatform()
    await platform.start()
    from biosegment.gateway import status

    asked = []
    real = status.check_all

    async def counted(connection: Connection, timeout: float = 2.0):
        asked.append(connection)
        return await real(connection, timeout)

    monkeypatch.setattr(status, "check_all", counted)
    monkeypatch.setattr(status, "_FRESH_SECONDS", 3600.0)
    app = make_app(platform.connection)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://gateway"
    ) as http:
        answers = await asyncio.gather(*(http.get("/health") for _ in range(40)))
        answers.append(await http.get("/health"))
    await platform.stop()
    assert {answer.status_code for answer in answers} == {200}
    assert len(asked) == 1
