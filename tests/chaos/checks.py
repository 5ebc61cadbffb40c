"""What must hold after each job and at the end; every finding is a sentence."""

import asyncio
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import nats.js.api
import numpy as np
import tifffile
from numpy.typing import NDArray

from biosegment.client import arrays
from biosegment.client.geometry import Box
from biosegment.runtime.bus import Bus
from biosegment.runtime.provision import EVENTS
from biosegment.v1 import events_pb2, jobs_pb2, storage_pb2
from tests.chaos.stand import Stand, insist
from tests.chaos.strokes import Stroke

SUCCEEDED = jobs_pb2.JOB_STATE_SUCCEEDED
_ENDED = "biosegment.events.job.ended"
_FETCH = 500


def outputs(stand: Stand, name: str) -> dict[str, str]:
    """SHA-256 of everything stored of a segmentation: chunks and metadata of labels and entropy.

    In the document of each volume its own name and the request that made it are left out, which
    differ from job to job.
    """
    found = {}
    for volume in (name, f"{name}-unsure"):
        folder = stand.platform.home.store / "default" / f"{volume}.zarr"
        part = volume.removeprefix(name) or "labels"
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            data = path.read_bytes()
            if path == folder / "zarr.json":
                document = json.loads(data)
                del document["attributes"]["biosegment"]["request_id"]
                for multiscale in document["attributes"].get("ome", {}).get("multiscales", ()):
                    del multiscale["name"]
                data = json.dumps(document, sort_keys=True).encode()
            found[f"{part}/{path.relative_to(folder)}"] = hashlib.sha256(data).hexdigest()
    return found


def after_job(stand: Stand, job: jobs_pb2.Job, name: str, calm: dict[str, str]) -> list[str]:
    """What is wrong with a job that has ended and its output."""
    wrong = []
    if job.state != SUCCEEDED or job.blocks.done != job.blocks.total or job.blocks.quarantined:
        state = jobs_pb2.JobState.Name(job.state)
        wrong.append(f"{job.name} is {state}, {job.blocks.done} of {job.blocks.total} blocks done")
    for volume in (name, f"{name}-unsure"):
        state = insist(lambda volume=volume: stand.client.volume(volume)).state  # type: ignore[misc]
        if state != storage_pb2.VOLUME_STATE_READY:
            wrong.append(f"{volume} is not finished")
    made = outputs(stand, name)
    different = sorted(key for key in calm.keys() | made.keys() if calm.get(key) != made.get(key))
    if different:
        wrong.append(f"{name} differs from the undisturbed run in {different}")
    if stand.rows("select name from job where name = ? and holder != ''", job.name):
        wrong.append(f"{job.name} has ended and is held")
    if stand.rows("select first from run where job = ?", job.name):
        wrong.append(f"{job.name} has ended and has runs of blocks left")
    return wrong


def after_export(stand: Stand, job: jobs_pb2.Job, calm: NDArray[np.uint8]) -> list[str]:
    """What is wrong with an export that has ended and its file, which is removed."""
    if job.state != SUCCEEDED:
        return [f"{job.name} is {jobs_pb2.JobState.Name(job.state)}: {job.error.message}"]
    path = Path(job.export_spec.destination_path)
    same = np.array_equal(tifffile.imread(path), calm)
    path.unlink()
    return [] if same else [f"{path.name} differs from the volume that was exported"]


@dataclass(frozen=True, slots=True)
class Ended:
    """An event of a job's end.

    Attributes:
        identity: Of the event.
        state: That the job ended in.
    """

    identity: str
    state: int


def ends(stand: Stand) -> dict[str, set[Ended]]:
    """Every event of an end that the bus holds, by job."""
    url = stand.platform._running.process("registry").spec.environment["BIOSEGMENT_NATS_URL"]

    async def read() -> dict[str, set[Ended]]:
        bus = Bus(url)
        await bus.connect()
        found: dict[str, set[Ended]] = {}
        try:
            config = nats.js.api.ConsumerConfig(ack_policy=nats.js.api.AckPolicy.NONE)
            subscription = await bus.js.pull_subscribe(_ENDED, stream=EVENTS, config=config)
            left = (await subscription.consumer_info()).num_pending or 0
            while left > 0:
                for message in await subscription.fetch(min(left, _FETCH), timeout=10):
                    event = events_pb2.JobEnded.FromString(message.data)
                    identity = (message.headers or {})["ce-id"]
                    found.setdefault(event.job, set()).add(Ended(identity, event.state))
                    left -= 1
        finally:
            await bus.close()
        return found

    return asyncio.run(asyncio.wait_for(read(), 60))


def at_end(stand: Stand, jobs: dict[str, list[int]], strokes: list[Stroke]) -> list[str]:
    """What is wrong once all is quiet.

    Args:
        stand: The platform.
        jobs: The states that each job ended in, more than one where it was retried.
        strokes: The commits that were acknowledged.
    """
    wrong = []
    told = ends(stand)
    for job, states in jobs.items():
        events = sorted(event.state for event in told.get(job, ()))
        if events != sorted(states):
            wrong.append(f"{job} ended in {states}, and the events tell of {events}")
    if held := stand.rows("select name, holder from job where holder != ''"):
        wrong.append(f"leases are left: {held}")
    if left := stand.rows("select job, first from run"):
        wrong.append(f"runs of blocks are left: {left}")
    if files := sorted(path.name for path in stand.exports.iterdir()):
        wrong.append(f"exports have left {files}")
    if left := stand.rows("select subject from outbox"):
        wrong.append(f"messages are left in the outbox: {left}")
    return wrong + _strokes(stand, strokes)


def _strokes(stand: Stand, strokes: list[Stroke]) -> list[str]:
    log = stand.client.annotations("painted", with_masks=True, limit=1_000_000)
    wrong = []
    if [each.revision for each in log] != list(range(1, len(log) + 1)):
        wrong.append("the revisions of the log have gaps")
    view = insist(lambda: stand.client.read(stand.client.dataset("painted").label_volume))
    replay: NDArray[np.uint8] = np.full(view.shape, arrays.NOT_LABELLED, np.uint8)
    by_name = {each.name: each for each in log}
    for each in log:
        box = Box.from_proto(each.box)
        mask = arrays.unpack_mask(each.mask, each.compression, box.shape)
        there = replay[box.slices]
        there[mask != arrays.NOT_LABELLED] = mask[mask != arrays.NOT_LABELLED]
        there[mask == arrays.CLEARED] = arrays.NOT_LABELLED
    for stroke in strokes:
        kept = by_name.get(stroke.name)
        if kept is None:
            wrong.append(f"the acknowledged {stroke.name} is not in the log")
            continue
        mask = arrays.unpack_mask(kept.mask, kept.compression, stroke.box.shape)
        if Box.from_proto(kept.box) != stroke.box or not np.array_equal(mask, stroke.mask):
            wrong.append(f"{stroke.name} is not what was committed")
    if not np.array_equal(view, replay):
        wrong.append("the label volume is not the replay of the log")
    return wrong
