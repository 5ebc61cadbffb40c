"""The blocking SDK: the same verbs, on a background loop. The servers run on that loop too."""

import asyncio
import inspect
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from tests.client.sdk_platform import JOB, RAW, InMemoryPlatform

from biosegment.client import AsyncClient, Box, Client
from biosegment.client.errors import NotFoundError
from biosegment.client.loop import SHARED
from biosegment.v1 import jobs_pb2


@pytest.fixture
def platform() -> Iterator[InMemoryPlatform]:
    async def start() -> InMemoryPlatform:
        made = InMemoryPlatform()
        await made.start()
        return made

    made = SHARED.run(start())
    yield made
    SHARED.run(made.stop())


@pytest.fixture
def client(platform: InMemoryPlatform) -> Iterator[Client]:
    with Client(platform.connection) as made:
        yield made


def test_it_has_every_verb_of_the_async_client() -> None:
    verbs = {name for name in dir(AsyncClient) if not name.startswith("_")}
    # What names and stubs are for is on client.asynchronous.
    for name in verbs - {"name", "parent", "stubs"}:
        assert hasattr(Client, name), name
        assert inspect.signature(getattr(Client, name)) is not None
        assert getattr(Client, name).__doc__


def test_verbs_block_and_errors_come_through(client: Client) -> None:
    box = Box.of_shape((1, 2, 3))
    np.testing.assert_array_equal(client.read("liver", box), RAW[box.slices])
    with pytest.raises(NotFoundError, match="no data set"):
        client.read("kidney", box)


def test_threads_may_share_a_client(client: Client) -> None:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(len(client.projects()))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [25] * 4


def test_waiting_calls_back_on_the_calling_thread(
    platform: InMemoryPlatform, client: Client
) -> None:
    states: list[int] = []

    def on_progress(job: jobs_pb2.Job) -> None:
        assert threading.current_thread() is threading.main_thread()
        # The callback may use the client: here it ends the job.
        states.append(client.job(job.name).state)
        if job.state == jobs_pb2.JOB_STATE_QUEUED:
            SHARED.run(platform.jobs.change(state=jobs_pb2.JOB_STATE_SUCCEEDED))

    job = client.wait(JOB, on_progress, timeout=30)
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert states == [jobs_pb2.JOB_STATE_QUEUED, jobs_pb2.JOB_STATE_SUCCEEDED]


def test_a_watch_that_is_left_is_closed(platform: InMemoryPlatform, client: Client) -> None:
    for _ in client.watch(JOB):
        break

    async def nobody_watches() -> None:
        async with asyncio.timeout(30), platform.jobs.changed:
            await platform.jobs.changed.wait_for(lambda: platform.jobs.watchers == 0)

    SHARED.run(nobody_watches())


def test_the_loop_refuses_to_wait_for_itself(client: Client) -> None:
    async def inside() -> None:
        client.projects()

    with pytest.raises(RuntimeError, match="own event loop"):
        SHARED.run(inside())
