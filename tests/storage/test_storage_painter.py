import asyncio

import numpy as np
import pytest
import tensorstore as ts

from biosegment.client import arrays
from biosegment.client.connection import Connection
from biosegment.client.errors import FailedPreconditionError
from biosegment.client.geometry import Box
from biosegment.client.stubs import AsyncStubs
from biosegment.runtime.bus import Bus
from biosegment.runtime.events import EventConsumer, subject_of
from biosegment.runtime.provision import provision
from biosegment.runtime.server import Server
from biosegment.storage.painter import Painter, paint
from biosegment.v1 import (
    annotations_pb2,
    annotations_pb2_grpc,
    events_pb2,
    registry_pb2,
    registry_pb2_grpc,
    types_pb2,
)
from biosegment.v1 import storage_pb2 as pb

SHAPE = (20, 300, 1100)
LABELS = "projects/p/volumes/d-labels"
DATASET = "projects/p/datasets/d"


class Log(
    annotations_pb2_grpc.AnnotationServiceServicer, registry_pb2_grpc.RegistryServiceServicer
):
    """A small log served over the wire: a few commits a page."""

    def __init__(self):
        self.commits = []

    def commit(self, box, mask):
        self.commits.append(
            annotations_pb2.Annotation(
                revision=len(self.commits) + 1,
                box=box.to_proto(),
                mask=arrays.pack_mask(mask),
                compression=types_pb2.COMPRESSION_ZLIB,
            )
        )

    @property
    def dataset(self):
        return registry_pb2.Dataset(name=DATASET, label_volume=LABELS, revision=len(self.commits))

    async def ListAnnotations(self, request, context):
        assert request.parent == DATASET
        assert request.with_masks
        first = request.after_revision
        return annotations_pb2.ListAnnotationsResponse(annotations=self.commits[first : first + 3])

    async def GetDataset(self, request, context):
        return registry_pb2.GetDatasetResponse(dataset=self.dataset)

    async def ListDatasets(self, request, context):
        assert request.parent == "projects/-"
        if not request.page_token:
            return registry_pb2.ListDatasetsResponse(next_page_token="more")
        missing = registry_pb2.Dataset(
            name="projects/p/datasets/x", label_volume="projects/p/volumes/x-labels", revision=1
        )
        return registry_pb2.ListDatasetsResponse(datasets=[missing, self.dataset])


@pytest.fixture
async def log():
    server = Server("127.0.0.1:0", "token")
    log = Log()
    server.add(annotations_pb2_grpc.add_AnnotationServiceServicer_to_server, log, "annotations")
    server.add(registry_pb2_grpc.add_RegistryServiceServicer_to_server, log, "registry")
    await server.start()
    connection = Connection(token="token", addresses={"*": f"127.0.0.1:{server.port}"})
    async with AsyncStubs(connection) as stubs:
        log.stubs = stubs
        yield log
    await server.stop(0)


@pytest.fixture
async def view(platform, describe):
    volume = describe(LABELS, SHAPE, kind=pb.VOLUME_KIND_LABELS, fill_value=255)
    await platform.volumes.create(volume, "r", replace_unfinished=False)
    return await platform.volumes.finish(LABELS)


def strokes(count, seed):
    random = np.random.default_rng(seed)
    for _ in range(count):
        shape = tuple(int(n) for n in random.integers(1, (6, 80, 300)))
        start = tuple(int(random.integers(0, n - s + 1)) for n, s in zip(SHAPE, shape, strict=True))
        yield Box.at(start, shape), random.choice(np.array([0, 1, 2, 254, 255], "u1"), shape)


def replay(commits):
    canvas = np.full(SHAPE, 255, "u1")
    for box, mask in commits:
        region = canvas[box.slices]
        region[mask < 254] = mask[mask < 254]
        region[mask == 254] = 255
    return canvas


def test_paint_one_commit():
    labels = np.array([[[3, 3, 255, 255]]], "u1")
    mask = np.array([[[255, 254, 255, 7]]], "u1")
    np.testing.assert_array_equal(paint(labels, mask), [[[3, 255, 255, 7]]])


async def test_view_is_the_log_replayed_at_every_level(platform, log, view):
    commits = list(strokes(10, 0))
    for box, mask in commits:
        log.commit(box, mask)
    painter = Painter(platform.volumes, log.stubs, 60)
    await painter.catch_up(log.dataset, 10)
    expected = replay(commits)
    finest = await platform.volumes.open_level(view, 0)
    np.testing.assert_array_equal(await finest.read(), expected)
    assert (await platform.volumes.get(LABELS)).revision == 10
    assert len(view.levels) == 3
    for n in (1, 2):
        level = await platform.volumes.open_level(view, n)
        finer = await platform.volumes.open_level(view, n - 1)
        whole = await ts.downsample(finer, [1, 2, 2], method="mode").read()
        np.testing.assert_array_equal(await level.read(), whole)


async def test_painting_again_after_a_crash_changes_nothing(platform, log, view):
    commits = list(strokes(7, 1))
    for box, mask in commits:
        log.commit(box, mask)
    painter = Painter(platform.volumes, log.stubs, 60)
    await painter.catch_up(log.dataset, 7)
    # As if the process had died before the revision was noted.
    await platform.volumes.set_revision(LABELS, 2)
    await painter.catch_up(log.dataset, 7)
    finest = await platform.volumes.open_level(view, 0)
    np.testing.assert_array_equal(await finest.read(), replay(commits))


async def test_two_events_at_once_paint_in_order(platform, log, view):
    commits = list(strokes(6, 2))
    for box, mask in commits:
        log.commit(box, mask)
    painter = Painter(platform.volumes, log.stubs, 60)
    await asyncio.gather(
        painter.catch_up(log.dataset, 6),
        painter.catch_up(log.dataset, 2),
        painter.catch_up(log.dataset, 4),
    )
    finest = await platform.volumes.open_level(view, 0)
    np.testing.assert_array_equal(await finest.read(), replay(commits))


async def test_an_event_has_the_commit_painted(platform, log, view, broker, eventually):
    bus = Bus(broker.url)
    await bus.connect()
    await provision(bus.js)
    await bus.js.purge_stream("EVENTS")
    painter = Painter(platform.volumes, log.stubs, 60)
    stopping = asyncio.Event()
    consumer = EventConsumer(bus, "storage", painter.on_committed)
    consuming = asyncio.create_task(consumer.run(stopping))
    ((box, mask),) = strokes(1, 6)
    log.commit(box, mask)
    event = events_pb2.AnnotationCommitted(dataset=DATASET, revision=1, box=box.to_proto())
    for repeat in range(2):
        await bus.publish(subject_of(event), event.SerializeToString(), f"painter-{repeat}")

    async def painted():
        return (await platform.volumes.get(LABELS)).revision == 1

    await eventually(painted)
    stopping.set()
    await asyncio.wait_for(consuming, 10)
    await bus.close()
    finest = await platform.volumes.open_level(view, 0)
    np.testing.assert_array_equal(await finest.read(), replay([(box, mask)]))


async def test_sweep_finds_what_no_event_told(platform, log, view, eventually):
    commits = list(strokes(4, 3))
    for box, mask in commits:
        log.commit(box, mask)
    painter = Painter(platform.volumes, log.stubs, 60)
    stopping = asyncio.Event()
    sweep = asyncio.create_task(painter.sweep(stopping))

    async def painted():
        return (await platform.volumes.get(LABELS)).revision == 4

    await eventually(painted)
    stopping.set()
    await asyncio.wait_for(sweep, 5)
    finest = await platform.volumes.open_level(view, 0)
    np.testing.assert_array_equal(await finest.read(), replay(commits))


async def test_a_log_that_is_behind_is_said(platform, log, view):
    with pytest.raises(FailedPreconditionError, match="no revision after 0"):
        await Painter(platform.volumes, log.stubs, 60).catch_up(log.dataset, 3)
