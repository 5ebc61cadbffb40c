"""Errors over real channels: every class, all four kinds of RPC, sync and async."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from biosegment.client.channel import _AsyncChannel, _SyncChannel
from biosegment.client.connection import Connection
from biosegment.client.errors import (
    ERRORS,
    DeadlineError,
    DomainError,
    InternalError,
    OutsideVolumeError,
    UnauthenticatedError,
    UnavailableError,
)
from biosegment.client.health import check, check_all
from biosegment.client.stubs import AsyncStubs
from biosegment.runtime.server import Server

TOKEN = "a-token"
NAME = "test.Kinds"


class Kinds:
    """All four kinds of RPC, each of which fails as its request says."""

    def fail(self, request: bytes) -> None:
        reason = request.decode()
        if reason == "defect":
            raise ZeroDivisionError("secret detail")
        raise ERRORS[reason]("The Ω of it: [0:3].", box="[0:3]", field="box", name="n")

    async def once(self, request: bytes, context: Any) -> bytes:
        self.fail(request)
        return b""

    async def gather(self, requests: Any, context: Any) -> bytes:
        async for request in requests:
            self.fail(request)
        return b""

    async def stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        self.fail(request)

    async def both(self, requests: Any, context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield b"first"
            self.fail(request)


def register(servicer: Kinds, server: Any) -> None:
    handlers = {
        "Once": grpc.unary_unary_rpc_method_handler(servicer.once),
        "Gather": grpc.stream_unary_rpc_method_handler(servicer.gather),
        "Stream": grpc.unary_stream_rpc_method_handler(servicer.stream),
        "Both": grpc.stream_stream_rpc_method_handler(servicer.both),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))


@pytest.fixture
async def address() -> AsyncIterator[str]:
    server = Server("127.0.0.1:0", TOKEN)
    server.add(register, Kinds(), NAME)
    await server.start()
    yield f"127.0.0.1:{server.port}"
    await server.stop(0)


def connect(address: str, token: str = TOKEN) -> Connection:
    return Connection(token=token, addresses={"*": address})


async def call(channel: _AsyncChannel, kind: str, request: bytes) -> None:
    path = f"/{NAME}/{kind}"

    async def requests() -> AsyncIterator[bytes]:
        yield request

    if kind == "Once":
        await channel.unary_unary(path)(request)
    elif kind == "Gather":
        await channel.stream_unary(path)(requests())
    elif kind == "Stream":
        async for _ in channel.unary_stream(path)(request):
            pass
    else:
        async for _ in channel.stream_stream(path)(requests()):
            pass


def call_sync(channel: _SyncChannel, kind: str, request: bytes) -> None:
    path = f"/{NAME}/{kind}"
    calls: dict[str, Callable[[], Any]] = {
        "Once": lambda: channel.unary_unary(path)(request),
        "Gather": lambda: channel.stream_unary(path)(iter([request])),
        "Stream": lambda: list(channel.unary_stream(path)(request)),
        "Both": lambda: list(channel.stream_stream(path)(iter([request]))),
    }
    calls[kind]()


KINDS = ["Once", "Gather", "Stream", "Both"]


@pytest.mark.parametrize("reason", sorted(ERRORS))
async def test_every_error_comes_back_as_itself(address: str, reason: str) -> None:
    channel = _AsyncChannel(connect(address), "registry")
    with pytest.raises(ERRORS[reason]) as caught:
        await call(channel, "Once", reason.encode())
    await channel.close()
    assert type(caught.value) is ERRORS[reason]
    assert caught.value.message == "The Ω of it: [0:3]."
    assert caught.value.metadata == {"box": "[0:3]", "field": "box", "name": "n"}


@pytest.mark.parametrize("kind", KINDS)
async def test_errors_are_mapped_in_every_kind_of_call(address: str, kind: str) -> None:
    channel = _AsyncChannel(connect(address), "registry")
    with pytest.raises(OutsideVolumeError, match="The Ω of it"):
        await call(channel, kind, b"OUTSIDE_VOLUME")
    with pytest.raises(InternalError, match="incident") as caught:
        await call(channel, kind, b"defect")
    assert "secret" not in caught.value.message
    await channel.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_errors_are_mapped_in_every_kind_of_blocking_call(address: str, kind: str) -> None:
    channel = _SyncChannel(connect(address), "registry")
    with pytest.raises(OutsideVolumeError, match="The Ω of it"):
        await asyncio.to_thread(call_sync, channel, kind, b"OUTSIDE_VOLUME")
    channel.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("token", ["", "another", TOKEN + "x"])
async def test_a_call_without_the_token_is_refused(address: str, kind: str, token: str) -> None:
    channel = _AsyncChannel(connect(address, token), "registry")
    with pytest.raises(UnauthenticatedError):
        await call(channel, kind, b"OUTSIDE_VOLUME")
    await channel.close()


async def test_a_method_that_does_not_exist_is_a_domain_error(address: str) -> None:
    channel = _AsyncChannel(connect(address), "registry")
    with pytest.raises(DomainError):
        await call(channel, "Nowhere", b"")
    await channel.close()


async def test_health_needs_no_token_and_tells_who_is_down(address: str) -> None:
    addresses = {"*": address, "storage": "127.0.0.1:1"}
    connection = Connection(token="", addresses=addresses)
    answers = await check_all(connection, timeout=5.0)
    assert answers.pop("storage") == "unreachable"
    assert set(answers.values()) == {"serving"}
    assert await asyncio.to_thread(check, connection, "registry", 5.0) == "serving"


async def test_a_service_that_is_away_is_named() -> None:
    channel = _AsyncChannel(connect("127.0.0.1:1"), "training")
    with pytest.raises((UnavailableError, DeadlineError), match="The training service"):
        await channel.unary_unary(f"/{NAME}/Once")(b"", timeout=2.0)
    await channel.close()


class Flaky:
    """Calls that are refused the first time, as by a service that restarts."""

    def __init__(self) -> None:
        self.calls = 0

    async def once(self, request: bytes, context: Any) -> bytes:
        self.calls += 1
        if self.calls == 1:
            raise UnavailableError("It restarts.")
        return str(len(request)).encode()

    async def gather(self, requests: Any, context: Any) -> bytes:
        return await self.once(b"".join([request async for request in requests]), context)


@pytest.mark.parametrize("kind", ["Once", "Gather"])
@pytest.mark.parametrize("size", [1 << 10, 300 << 10, 2 << 20, (8 << 20) - 100])
@pytest.mark.parametrize("blocking", [False, True])
async def test_requests_of_every_size_are_repeated(kind: str, size: int, blocking: bool) -> None:
    flaky = Flaky()
    server = Server("127.0.0.1:0", TOKEN)

    def register(servicer: Flaky, grpc_server: Any) -> None:
        handlers = {
            "Once": grpc.unary_unary_rpc_method_handler(servicer.once),
            "Gather": grpc.stream_unary_rpc_method_handler(servicer.gather),
        }
        grpc_server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(NAME, handlers),)
        )

    server.add(register, flaky, NAME)
    await server.start()
    connection = connect(f"127.0.0.1:{server.port}")
    pieces = [b"x" * (size // 4)] * 4
    if blocking:
        channel = _SyncChannel(connection, "registry")
        call = (
            channel.unary_unary(f"/{NAME}/Once")
            if kind == "Once"
            else channel.stream_unary(f"/{NAME}/Gather")
        )
        request = b"".join(pieces) if kind == "Once" else iter(pieces)
        assert await asyncio.to_thread(call, request) == str(size).encode()
        channel.close()
    else:
        async with AsyncStubs(connection) as stubs:
            waiting = stubs._channels["registry"]
            if kind == "Once":
                answer = await waiting.unary_unary(f"/{NAME}/Once")(b"".join(pieces))
            else:

                async def stream() -> AsyncIterator[bytes]:
                    for piece in pieces:
                        yield piece

                answer = await waiting.stream_unary(f"/{NAME}/Gather")(stream())
        assert answer == str(size).encode()
    assert flaky.calls == 2
    await server.stop(0)
