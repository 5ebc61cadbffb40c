"""A platform that comes back elsewhere, or with another token, is found again by who lives on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.client.sdk_platform import JOB, InMemoryPlatform
from tests.client.test_client_channel import KINDS, NAME, Kinds, call, call_sync, register

from biosegment.client import AsyncClient, Client
from biosegment.client.channel import _AsyncChannel, _SyncChannel
from biosegment.client.connection import Connection
from biosegment.client.errors import (
    DomainError,
    OutsideVolumeError,
    UnauthenticatedError,
    UnavailableError,
)
from biosegment.runtime.server import Server
from biosegment.v1 import jobs_pb2

Serve = Callable[[str], Any]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server with a token; where it is."""
    servers = []

    async def start(token: str) -> Server:
        server = Server("127.0.0.1:0", token)
        server.add(register, Kinds(), NAME)
        await server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.stop(0)


def note(path: Path, server: Server, token: str) -> Connection:
    Connection(token=token, addresses={"*": f"127.0.0.1:{server.port}"}).save(path)
    return Connection.load(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "connection.json"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_new_token_at_another_port_is_found(serve: Serve, path: Path, kind: str) -> None:
    first = await serve("one")
    channel = _AsyncChannel(note(path, first, "one"), "registry")
    blocking = _SyncChannel(Connection.load(path), "registry")
    with pytest.raises(OutsideVolumeError):
        await call(channel, kind, b"OUTSIDE_VOLUME")
    with pytest.raises(OutsideVolumeError):
        await asyncio.to_thread(call_sync, blocking, kind, b"OUTSIDE_VOLUME")
    await first.stop(0)
    note(path, await serve("two"), "two")
    for again in (
        lambda: call(channel, kind, b"OUTSIDE_VOLUME"),
        lambda: asyncio.to_thread(call_sync, blocking, kind, b"OUTSIDE_VOLUME"),
    ):
        if kind in ("Gather", "Both"):
            # What was sent cannot be sent again; the next call finds it.
            with pytest.raises(UnavailableError):
                await again()
        with pytest.raises(OutsideVolumeError):
            await again()
    await channel.close()
    blocking.close()


async def test_a_new_token_at_the_same_port_is_found(serve: Serve, path: Path) -> None:
    server = await serve("new")
    note(path, server, "old")
    channel = _AsyncChannel(Connection.load(path), "registry")
    with pytest.raises(UnauthenticatedError):
        await call(channel, "Once", b"OUTSIDE_VOLUME")
    note(path, server, "new")
    with pytest.raises(OutsideVolumeError):
        await call(channel, "Once", b"OUTSIDE_VOLUME")
    await channel.close()


async def test_what_has_not_moved_fails_as_before(serve: Serve, path: Path) -> None:
    server = await serve("one")
    channel = _AsyncChannel(note(path, server, "wrong"), "registry")
    for _ in range(2):
        with pytest.raises(UnauthenticatedError):
            await call(channel, "Stream", b"OUTSIDE_VOLUME")
    await server.stop(0)
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await call(channel, "Once", b"OUTSIDE_VOLUME")
    for damage in ("", "{", '{"token": "x", "addresses": {"storage": "a:1"}}'):
        await asyncio.to_thread(path.write_text, damage)
        with pytest.raises(UnavailableError):
            await call(channel, "Once", b"OUTSIDE_VOLUME")
    await channel.close()


async def test_a_platform_that_was_stopped_in_order_is_told(serve: Serve, path: Path) -> None:
    server = await serve("one")
    channel = _AsyncChannel(note(path, server, "one"), "registry")
    await server.stop(0)
    await asyncio.to_thread(path.unlink)
    with pytest.raises(UnavailableError, match=r"was stopped.*biosegment up"):
        await call(channel, "Once", b"OUTSIDE_VOLUME")
    note(path, await serve("two"), "two")
    with pytest.raises(OutsideVolumeError):
        await call(channel, "Once", b"OUTSIDE_VOLUME")
    await channel.close()


async def test_a_connection_of_no_file_is_as_it_was(serve: Serve) -> None:
    server = await serve("one")
    connection = Connection(token="one", addresses={"*": f"127.0.0.1:{server.port}"})
    assert connection.fresh() is connection
    assert not connection.is_stale
    channel = _AsyncChannel(connection, "registry")
    await server.stop(0)
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await call(channel, "Once", b"OUTSIDE_VOLUME")
    await channel.close()


async def test_clients_go_on_and_what_they_follow_too(path: Path) -> None:
    platform = InMemoryPlatform()
    await platform.start()
    platform.connection.save(path)
    client, blocking = AsyncClient(Connection.load(path)), Client(Connection.load(path))
    seen: list[jobs_pb2.Job | DomainError] = []

    async def follow() -> None:
        seen.extend([each async for each in client.follow(JOB)])

    following = asyncio.create_task(follow())
    await platform.jobs.watched()
    await asyncio.to_thread(blocking.job, JOB)
    await platform.stop()
    # At another port, as where the one before was taken meanwhile.
    platform._port = 0
    await platform.start()
    platform.connection.save(path)
    await platform.jobs.watched()
    await platform.jobs.change(state=jobs_pb2.JOB_STATE_SUCCEEDED)
    await following
    assert isinstance(seen[0], jobs_pb2.Job)
    assert [type(each) for each in seen].count(UnavailableError) == 1
    assert isinstance(seen[-1], jobs_pb2.Job)
    assert seen[-1].state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert set((await client.health()).values()) == {"serving"}
    assert (await asyncio.to_thread(blocking.job, JOB)).state == jobs_pb2.JOB_STATE_SUCCEEDED
    await client.close()
    await asyncio.to_thread(blocking.close)
    await platform.stop()
