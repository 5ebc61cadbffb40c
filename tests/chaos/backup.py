"""Backups under load, restored and compared: ``python -m tests.chaos.backup --count 50``.

Three people paint, somebody imports and deletes volumes, a model is trained and applied, all the
while. Each backup is restored and compared with what had been acknowledged when it began, and with
the platform; the last one is started, and must go on. The last line is one JSON object.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import tifffile

from biosegment.cli.backup.restore import restore
from biosegment.cli.backup.take import take
from biosegment.cli.up.home import Home
from biosegment.cli.up.platform import Options, Platform
from biosegment.client import Client, arrays
from biosegment.client.errors import DomainError
from biosegment.client.geometry import Box, shape_proto
from biosegment.client.stubs import SyncStubs
from biosegment.phantom import generate
from biosegment.registry.backup import named
from biosegment.v1 import jobs_pb2, storage_pb2, types_pb2
from tests.backup_kit import files, rows
from tests.chaos.strokes import Painter, Stroke

SHAPE, VOXEL = (6, 96, 96), (45.0, 9.2, 9.2)
_PAINTED = ("one", "two", "three")
_SETTINGS = {"BIOSEGMENT_LEASE_SECONDS": "4", "BIOSEGMENT_RECONCILE_SECONDS": "0.5"}
_END_SECONDS = 240.0
_IMPORT_EVERY = 40
_ZLIB = types_pb2.COMPRESSION_ZLIB


@dataclass(slots=True)
class Report:
    """What was found.

    Attributes:
        backups: How many were taken, restored and compared.
        acknowledged: Commits in all.
        jobs: Jobs that went on meanwhile.
        running: Backups in which a job was under way.
        violations: Sentences on what was wrong.
        seconds: In all.
    """

    backups: int = 0
    acknowledged: int = 0
    jobs: int = 0
    running: int = 0
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Bustle:
    """A thread that does something over and over until it is stopped."""

    def __init__(self, what: Callable[[int], None]) -> None:
        self.count = 0
        self._what = what
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(0.05):
                self.count += 1
                self._what(self.count)
        except Exception as error:  # noqa: BLE001 - raised by stop
            self._failure = error

    def stop(self) -> None:
        """Ends it, and raises what went wrong."""
        self._stopping.set()
        self._thread.join(180)
        if self._failure is not None:
            raise self._failure


@contextmanager
def load(platform: Platform, folder: Path) -> Iterator[tuple[list[Painter], list[Bustle]]]:
    """People and jobs at work."""
    phantom = generate(shape=SHAPE, voxel_size=VOXEL, seed=3)
    tifffile.imwrite(folder / "raw.tif", phantom.raw)
    tifffile.imwrite(folder / "labels.tif", phantom.labels)
    free = storage_pb2.Volume(
        kind=storage_pb2.VOLUME_KIND_IMAGE,
        data_type=types_pb2.DATA_TYPE_UINT8,
        voxel_size=types_pb2.VoxelSize(z=45, y=9.2, x=9.2),
        levels=[storage_pb2.VolumeLevel(shape=shape_proto(SHAPE))],
    )
    with Client(platform.connection) as client, SyncStubs(platform.connection) as stubs:
        client.put_label_class(1, "mitochondria")
        for name in _PAINTED:
            client.wait(client.import_volume(folder / "raw.tif", dataset=name, voxel_size=VOXEL))
        parameters = {"feature_maps": 8, "levels": 3}
        client.create_model(
            "unet", classes=[0, 1], architecture="unet2d-quarter", parameters=parameters
        )
        box = Box((0, 0, 0), (3, 96, 96))
        client.commit("one", box, phantom.labels[box.slices], tool="chaos")

        def compute(count: int) -> None:
            settings = jobs_pb2.TrainingSettings(
                steps=12, batch_size=2, seed=count, checkpoint_steps=4
            )
            settings.patch.CopyFrom(shape_proto((1, 64, 64)))
            client.wait(client.train("unet", "one", settings=settings), timeout=180)
            client.wait(client.segment("unet/latest", "one", segmentation=f"s{count}"), timeout=180)

        def shuffle(count: int) -> None:
            if count % _IMPORT_EVERY == 1:
                name = f"reference{count}"
                job = client.import_labels(folder / "labels.tif", dataset="two", volume=name)
                client.wait(job, timeout=180)
            free.name = f"projects/default/volumes/free-{count}"
            stubs.storage.CreateVolume(
                storage_pb2.CreateVolumeRequest(request_id=f"free-{count}", volume=free)
            )
            last = f"projects/default/volumes/free-{count - 2}"
            stubs.storage.DeleteVolume(storage_pb2.DeleteVolumeRequest(name=last))

        painters = [
            Painter(platform.connection_path, name, SHAPE, seed)
            for seed, name in enumerate(_PAINTED)
        ]
        for painter in painters:
            painter.start()
        bustles = [Bustle(compute), Bustle(shuffle)]
        try:
            yield painters, bustles
        finally:
            for each in (*painters, *bustles):
                each.stop()


def compare(home: Home, platform: Platform, before: list[Stroke]) -> list[str]:
    """What is wrong with a restored home."""
    wrong = []
    kept = {
        f"{dataset}/annotations/{revision}": mask
        for dataset, revision, mask in rows(
            home.database, "SELECT dataset, revision, mask FROM annotation"
        )
    }
    for stroke in before:
        mask = kept.get(stroke.name)
        if mask is None:
            wrong.append(f"{stroke.name} was acknowledged and is missing")
        elif not np.array_equal(arrays.unpack_mask(mask, _ZLIB, stroke.box.shape), stroke.mask):
            wrong.append(f"{stroke.name} has another mask")
    made, original = files(home.store), files(platform.home.store)
    names = named(home.database)
    for volume in names["needed"]:
        _, project, _, identity = volume.split("/")
        prefix = f"{project}/{identity}.zarr/"
        if f"{prefix}zarr.json" not in made:
            wrong.append(f"{volume} is missing")
        elif volume not in names["views"]:
            wrong += [
                f"{name} differs"
                for name, data in original.items()
                if name.startswith(prefix) and made.get(name) != data
            ]
    for name in names["objects"]:
        key = name.removeprefix("projects/")
        if key not in made or made[key] != original.get(key):
            wrong.append(f"{name} is missing or differs")
    return wrong


def goes_on(home: Home, folder: Path, before: list[Stroke]) -> list[str]:
    """What is wrong with a restored home once it is started."""
    options = Options(
        home=home.folder, import_roots=[folder], export_roots=[folder], environment=_SETTINGS
    )
    with Platform(options) as platform, Client(platform.connection) as client:
        wrong, end = [], time.monotonic() + _END_SECONDS
        for job in client.jobs():
            with contextlib.suppress(DomainError):
                client.wait(job, timeout=max(0.1, end - time.monotonic()))
        wrong += [
            f"{job.name} of the restored home is {jobs_pb2.JobState.Name(job.state)}"
            for job in client.jobs()
            if job.state != jobs_pb2.JOB_STATE_SUCCEEDED
        ]
        for name in _PAINTED:
            log = client.annotations(name, with_masks=True, limit=100_000)
            expected = np.full(SHAPE, arrays.NOT_LABELLED, np.uint8)
            for commit in sorted(log, key=lambda each: each.revision):
                box = Box.from_proto(commit.box)
                mask = arrays.unpack_mask(commit.mask, commit.compression, box.shape)
                region = expected[box.slices]
                region[mask < arrays.CLEARED] = mask[mask < arrays.CLEARED]
                region[mask == arrays.CLEARED] = arrays.NOT_LABELLED
            view = client.dataset(name).label_volume
            while client.volume(view).revision < client.dataset(name).revision:
                if time.monotonic() > end:
                    break
                time.sleep(0.2)
            if not np.array_equal(client.read(view), expected):
                wrong.append(f"{view} is not the replay of its log")
            box = Box((0, 0, 0), (1, 16, 16))
            client.commit(name, box, np.ones(box.shape, np.uint8), tool="chaos")
        return wrong


def run(count: int) -> Report:
    """Takes, restores and compares so many backups."""
    report, began = Report(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="backup-") as name:
        folder = Path(name)
        options = Options(
            home=folder / "home",
            import_roots=[folder],
            export_roots=[folder],
            environment=_SETTINGS,
        )
        with Platform(options) as platform, load(platform, folder) as (painters, bustles):
            for number in range(1, count + 1):
                before = [stroke for each in painters for stroke in list(each.acknowledged)]
                take(platform.home, folder / "backup", endpoint="", region="")
                home = Home(folder / f"restored-{number}")
                restore(folder / "backup", home)
                wrong = compare(home, platform, before)
                report.violations += [f"backup {number}: {sentence}" for sentence in wrong]
                report.running += bool(rows(home.database, "SELECT 1 FROM job WHERE state = 2"))
                report.backups = number
                sys.stderr.write(f"{number}: {len(before)} commits, {len(wrong)} violations\n")
            report.acknowledged = sum(len(each.acknowledged) for each in painters)
            report.jobs = sum(each.count for each in bustles)
        report.violations += goes_on(home, folder, before)
    report.seconds = round(time.monotonic() - began, 1)
    return report


def main() -> None:
    """Runs, and says what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50)
    report = run(parser.parse_args().count)
    print(json.dumps(asdict(report)))
    raise SystemExit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
