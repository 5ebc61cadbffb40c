"""Peers of a gRPC server that do not finish what they began, on real sockets."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.struct_pb2 import Struct, Value
from grpc_health.v1 import health_pb2, health_pb2_grpc

from biosegment.client.channel import _AsyncChannel
from biosegment.client.connection import Connection
from biosegment.client.errors import InvalidArgumentError, UnauthenticatedError
from biosegment.client.health import check_async
from biosegment.runtime import server as servers
from biosegment.runtime import threads
from biosegment.runtime.server import Server
from biosegment.runtime.threads import Threads, pulse

TOKEN = "a-token"
NAME = "test.Echo"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
OPEN_HEADERS = b"\x00\x00\x05\x01\x00\x00\x00\x00\x01\x82\x84\x86\x41\x01"


class Echo:
    """Two kinds of RPC, one request each or a stream of them."""

    async def once(self, request: Struct, context: Any) -> Struct:
        return request

    async def gather(self, requests: AsyncIterator[Struct], context: Any) -> Struct:
        return [request async for request in requests][-1]


def register(servicer: Echo, server: Any) -> None:
    codecs = {"request_deserializer": Struct.FromString, "response_serializer": _bytes}
    handlers = {
        "Once": grpc.unary_unary_rpc_method_handler(servicer.once, **codecs),
        "Gather": grpc.stream_unary_rpc_method_handler(servicer.gather, **codecs),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))


def _bytes(message: Struct) -> bytes:
    return message.SerializeToString()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[], Awaitable[Connection]]]:
    running: list[Server] = []

    async def start() -> Connection:
        made = Server("127.0.0.1:0", TOKEN)
        made.add(register, Echo(), NAME)
        await made.start()
        running.append(made)
        return Connection(token=TOKEN, addresses={"*": f"127.0.0.1:{made.port}"})

    yield start
    for each in running:
        await each.stop(0)


def with_options(monkeypatch: pytest.MonkeyPatch, **options: int) -> None:
    changed = dict(servers.SERVER_OPTIONS) | {f"grpc.{key}": n for key, n in options.items()}
    monkeypatch.setattr(servers, "SERVER_OPTIONS", list(changed.items()))


async def closed(reader: asyncio.StreamReader) -> None:
    """Waits until the other side has closed."""
    async with asyncio.timeout(60):
        try:
            while await reader.read(1 << 16):
                pass
        except ConnectionError:
            pass


@pytest.mark.parametrize("sent", [b"", PREFACE[:10], PREFACE, b"GET / HTTP/1.1\r\n"])
async def test_a_greeting_that_is_not_finished_is_not_waited_for(
    serve: Callable[[], Awaitable[Connection]], monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    with_options(monkeypatch, server_handshake_timeout_ms=300)
    connection = await serve()
    host, port = connection.address("registry").split(":")
    peers = [await asyncio.open_connection(host, int(port)) for _ in range(100)]
    for _, writer in peers:
        writer.write(sent)
    assert await check_async(connection, "registry", 10.0) == "serving"
    for reader, writer in peers:
        await closed(reader)
        writer.close()


@pytest.mark.parametrize("sent", [b"", OPEN_HEADERS])
async def test_a_connection_that_asks_nothing_is_closed(
    serve: Callable[[], Awaitable[Connection]], monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    with_options(monkeypatch, max_connection_idle_ms=300)
    connection = await serve()
    host, port = connection.address("registry").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(PREFACE + SETTINGS + sent)
    await closed(reader)
    writer.close()


async def test_connections_have_a_number(
    serve: Callable[[], Awaitable[Connection]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_CONNECTIONS", 30)
    with_options(monkeypatch, server_handshake_timeout_ms=1000)
    connection = await serve()
    assert await check_async(connection, "registry", 10.0) == "serving"
    host, port = connection.address("registry").split(":")
    peers = [await asyncio.open_connection(host, int(port)) for _ in range(60)]
    for reader, writer in peers:
        await closed(reader)
        writer.close()
    assert await check_async(connection, "registry", 10.0) == "serving"


def half(connection: Connection, path: str, token: str) -> tuple[Any, grpc.aio.StreamUnaryCall]:
    """A call whose request never comes."""
    channel = grpc.aio.insecure_channel(connection.address("registry"))
    call = channel.stream_unary(path)(metadata=[("authorization", f"Bearer {token}")])
    return channel, call


@pytest.mark.parametrize("method", ["Once", "Gather"])
async def test_a_call_without_the_token_is_refused_before_its_request_has_come(
    serve: Callable[[], Awaitable[Connection]], method: str
) -> None:
    channel, call = half(await serve(), f"/{NAME}/{method}", "wrong")
    async with asyncio.timeout(30):
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
    await channel.close()


async def test_a_request_that_does_not_come_is_not_waited_for(
    serve: Callable[[], Awaitable[Connection]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "REQUEST_SECONDS", 0.3)
    channel, call = half(await serve(), f"/{NAME}/Once", TOKEN)
    async with asyncio.timeout(30):
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await channel.close()


async def test_a_call_without_a_request_is_refused(
    serve: Callable[[], Awaitable[Connection]],
) -> None:
    connection = await serve()
    channel = _AsyncChannel(connection, "registry")
    with pytest.raises(InvalidArgumentError, match="without a request"):
        await channel.stream_unary(f"/{NAME}/Once")(iter(()))
    await channel.close()


@pytest.mark.parametrize("method", ["Once", "Gather"])
async def test_what_no_request_may_hold_is_refused_in_every_kind_of_call(
    serve: Callable[[], Awaitable[Connection]], method: str
) -> None:
    channel = _AsyncChannel(await serve(), "registry")
    bad = Struct(fields={"x": Value(number_value=float("nan"))})
    path = f"/{NAME}/{method}"
    if method == "Once":
        call = channel.unary_unary(path, request_serializer=_bytes)(bad)
    else:
        call = channel.stream_unary(path, request_serializer=_bytes)(iter([Struct(), bad]))
    with pytest.raises(InvalidArgumentError, match="finite"):
        await call
    await channel.close()


async def test_to_be_told_of_health_needs_the_token(
    serve: Callable[[], Awaitable[Connection]],
) -> None:
    connection = await serve()
    for token in ("", TOKEN):
        channel = _AsyncChannel(Connection(token=token, addresses=connection.addresses), "registry")
        stub = health_pb2_grpc.HealthStub(channel)
        first = anext(aiter(stub.Watch(health_pb2.HealthCheckRequest())))
        if token:
            assert (await first).status == health_pb2.HealthCheckResponse.SERVING
        else:
            with pytest.raises(UnauthenticatedError):
                await first
        await channel.close()


async def test_health_says_when_no_thread_comes_and_when_one_does_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, eventually: Callable[..., Awaitable[None]]
) -> None:
    monkeypatch.setattr(threads, "PULSE_SECONDS", 0.05)
    monkeypatch.setattr(threads, "PATIENCE_SECONDS", 0.3)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(Threads(3))
    server = Server("127.0.0.1:0", TOKEN)
    await server.start()
    connection = Connection(token=TOKEN, addresses={"*": f"127.0.0.1:{server.port}"})
    stopping = asyncio.Event()
    beating = asyncio.create_task(pulse(stopping, lambda moves: server.report(serving=moves)))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def blocked() -> None:
        # As a file of a file server that is gone: the system call does not come back.
        with fifo.open("rb"):
            pass

    async def health(word: str) -> None:
        async def reported() -> bool:
            return await check_async(connection, "registry", 5.0) == word

        await eventually(reported)

    await health("serving")
    stuck = [asyncio.create_task(asyncio.to_thread(blocked)) for _ in range(5)]
    await health("not serving")
    done = threading.Event()

    def free() -> None:
        while not done.is_set():
            try:
                os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                done.wait(0.02)

    freeing = threading.Thread(target=free)
    freeing.start()
    await asyncio.gather(*stuck)
    done.set()
    freeing.join()
    await health("serving")
    stopping.set()
    await beating
    await server.stop(0)


async def test_the_pulse_does_not_keep_a_service_from_its_end() -> None:
    told: list[bool] = []

    async def tell(moves: bool) -> None:
        told.append(moves)

    stopping = asyncio.Event()
    beating = asyncio.create_task(pulse(stopping, tell))
    await asyncio.sleep(0)
    stopping.set()
    async with asyncio.timeout(10):
        await beating
    assert not told


async def test_a_request_in_time_is_answered(
    serve: Callable[[], Awaitable[Connection]],
) -> None:
    channel = _AsyncChannel(await serve(), "registry")
    request = Struct(fields={"x": Value(number_value=1.0)})
    answer = await channel.unary_unary(
        f"/{NAME}/Once", request_serializer=_bytes, response_deserializer=Struct.FromString
    )(request)
    assert answer == request
    await channel.close()
