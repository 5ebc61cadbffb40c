"""Commits of every size arrive exactly once, whatever becomes of the connection."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from biosegment.client import AsyncClient
from biosegment.client.connection import Connection
from biosegment.client.geometry import Box
from biosegment.registry.database import Database
from biosegment.registry.servicer import AnnotationServicer, RegistryServicer
from biosegment.runtime.server import Server
from biosegment.v1 import annotations_pb2_grpc, registry_pb2_grpc
from tests.registry.record_kit import Record

SHAPE = (4, 2048, 2048)


class Line:
    """A connection to a server that can be cut and laid to another one."""

    def __init__(self) -> None:
        self.target = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> int:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers |= {writer, back}
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def close(self) -> None:
        self.cut()
        self._server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Registry(AnnotationServicer):
    """The annotation log, which is killed as soon as it has done its first so many commits."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.recorded = asyncio.Event()
        self.requests: list[str] = []

    async def CommitAnnotation(self, request, context):
        self.requests.append(request.request_id)
        answer = await super().CommitAnnotation(request, context)
        if not self.recorded.is_set():
            self.recorded.set()
            await asyncio.Event().wait()
        return answer


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    made = Line()
    yield made
    await made.close()


async def start(database: Database, servicer: AnnotationServicer) -> Server:
    server = Server("127.0.0.1:0", "token")
    server.add(
        annotations_pb2_grpc.add_AnnotationServiceServicer_to_server,
        servicer,
        "biosegment.v1.AnnotationService",
    )
    # The client looks up what the numbers of a mask mean.
    server.add(
        registry_pb2_grpc.add_RegistryServiceServicer_to_server,
        RegistryServicer(database),
        "biosegment.v1.RegistryService",
    )
    await server.start()
    return server


@pytest.mark.parametrize("side", [32, 1024, 1650])
async def test_a_commit_is_repeated_when_the_registry_restarts_in_its_midst(
    record: Record, line: Line, side: int
) -> None:
    await record.import_dataset("big", SHAPE)
    first, second = Registry(record.database), AnnotationServicer(record.database)
    port = await line.listen()
    servers = [await start(record.database, servicer) for servicer in (first, second)]
    line.target = servers[0].port
    # Noise, which does not get smaller: 3 MiB are what one commit holds at most.
    noise = np.random.default_rng(1).integers(0, 3, (4, side, side), np.uint8)
    connection = Connection(token="token", addresses={"*": f"127.0.0.1:{port}"})
    async with AsyncClient(connection, project="p") as client:
        committing = asyncio.create_task(
            client.commit("big", Box.of_shape(noise.shape), noise, tool="test")
        )
        recorded = asyncio.create_task(first.recorded.wait())
        await asyncio.wait([committing, recorded], return_when=asyncio.FIRST_COMPLETED)
        line.target = servers[1].port
        line.cut()
        commits = await committing
        log = await client.annotations("big", with_masks=True)
    for server in servers:
        await server.stop(0)
    assert [each.revision for each in log] == list(range(1, len(commits) + 1))
    assert sum(each.labelled_voxels for each in log) == noise.size
    if side > 1024:
        assert max(len(each.mask) for each in log) > 2 << 20
