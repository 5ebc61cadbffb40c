"""What faults are inflicted on: the real platform, a second worker, a small disk of their own."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import tifffile

from biosegment.cli.up import launch
from biosegment.cli.up.platform import Options, Platform
from biosegment.client import Client
from biosegment.client.errors import DomainError
from biosegment.client.geometry import Box, shape_proto
from biosegment.client.stubs import SyncStubs
from biosegment.phantom import generate
from biosegment.v1 import inference_pb2, ingest_pb2, jobs_pb2

_T = TypeVar("_T")
VOXEL = (45.0, 9.2, 9.2)
BLOCKS = 40
SHAPE = (16 * BLOCKS, 64, 64)
LEASE_SECONDS = 6.0
_SETTINGS = {
    "BIOSEGMENT_LEASE_SECONDS": str(LEASE_SECONDS),
    "BIOSEGMENT_RECONCILE_SECONDS": "0.5",
    "BIOSEGMENT_SWEEP_SECONDS": "2",
    "OMP_NUM_THREADS": "1",
}
_DISK_BYTES = 4 << 30
_PATIENCE = 90.0


def insist(call: Callable[[], _T], seconds: float = _PATIENCE) -> _T:
    """What a call returns once the platform is there to answer it.

    Raises:
        DomainError: It was refused, or was not answered in time.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return call()
        except DomainError as error:
            if not error.retryable or time.monotonic() > end:
                raise
            time.sleep(0.2)


@contextmanager
def small_disk() -> Iterator[tuple[Path, bool]]:
    """A folder on a file system of its own that can be made full, and whether it is one."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    mounted = (
        os.geteuid() == 0
        and shutil.which("mount") is not None
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "chaos", str(folder)], check=False
        ).returncode
        == 0
    )
    try:
        yield folder, mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def resize_disk(folder: Path, *, full: bool) -> None:
    """Leaves no byte on the disk, or gives back what it had."""
    # What is written meanwhile may make it refuse the size, which is then taken anew.
    for _ in range(20):
        used = os.statvfs(folder)
        size = (used.f_blocks - used.f_bfree) * used.f_frsize if full else _DISK_BYTES
        done = subprocess.run(
            ["mount", "-o", f"remount,size={size}", str(folder)], check=False, capture_output=True
        )
        if done.returncode == 0:
            return
    raise RuntimeError(f"{folder} cannot be resized: {done.stderr.decode()}")


class Worker:
    """A second inference service beside that of the platform, as a cluster has it."""

    def __init__(self, platform: Platform) -> None:
        self._spec = platform._running.process("inference").spec
        self.log = platform.home.logs / "inference-2.log"
        self._process: subprocess.Popen[bytes] | None = None

    def ensure(self) -> int:
        """Starts it where it does not run; its process id."""
        if self._process is None or self._process.poll() is not None:
            environment = {**os.environ, **self._spec.environment}
            environment |= {"BIOSEGMENT_LISTEN": "127.0.0.1:0", "BIOSEGMENT_KINDS": "segment"}
            launcher = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid())]
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [*launcher, *self._spec.command],
                    env=environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        return self._process.pid

    def stop(self) -> None:
        """Ends it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)


@dataclass(slots=True)
class Stand:
    """A running platform with a data set "em", its annotated twin "painted", and a model.

    Attributes:
        platform: It.
        client: To reach it.
        stubs: The same, for what the client has no verb for.
        worker: The second worker.
        disk: Folder of its disk.
        fillable: Whether that disk can be made full.
        cancelled: How often each job ended cancelled, by a fault.
    """

    platform: Platform
    client: Client
    stubs: SyncStubs
    worker: Worker
    disk: Path
    fillable: bool
    cancelled: Counter[str] = field(default_factory=Counter)

    @property
    def exports(self) -> Path:
        """The folder for exports, on the same disk."""
        return self.disk / "exports"

    def export(self, name: str) -> jobs_pb2.Job:
        """Starts an export of the raw volume into a file of a name."""
        project = "projects/default"
        spec = jobs_pb2.ExportSpec(
            volume=insist(lambda: self.client.dataset("em")).raw_volume,
            destination_path=str(self.exports / f"{name}.tif"),
            format="tiff",
        )
        request = ingest_pb2.StartExportRequest(
            parent=project, request_id=f"{name}-export", spec=spec
        )
        stubs = self.stubs
        return insist(lambda: stubs.ingest.StartExport(request, timeout=30).job)

    def segment(self, name: str) -> jobs_pb2.Job:
        """Starts a segmentation under a name, however often it must ask."""
        project = "projects/default"
        spec = jobs_pb2.SegmentSpec(
            dataset=f"{project}/datasets/em",
            version=f"{project}/models/unet/versions/1",
            volume=f"{project}/volumes/{name}",
            segmentation=f"{project}/datasets/em/segmentations/{name}",
            entropy_volume=f"{project}/volumes/{name}-unsure",
        )
        request = inference_pb2.StartSegmentationRequest(parent=project, request_id=name, spec=spec)
        stubs = self.stubs
        return insist(lambda: stubs.inference.StartSegmentation(request, timeout=30).job)

    def job(self, name: str) -> jobs_pb2.Job:
        """A job as it is now."""
        return insist(lambda: self.client.job(name))

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What the record says, read behind the registry's back."""
        uri = f"file:{self.platform.home.database}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=10)) as record:
            return record.execute(query, values).fetchall()

    def family(self, pid: int) -> list[psutil.Process]:
        """A process and everything below it, the children first."""
        try:
            process = psutil.Process(pid)
            return [*process.children(recursive=True), process]
        except psutil.NoSuchProcess:
            return []

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Sends a signal to a process and everything below it."""
        for process in self.family(pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


@contextmanager
def stand() -> Iterator[Stand]:
    """The platform on its small disk, with a trained model."""
    with small_disk() as (disk, fillable), tempfile.TemporaryDirectory() as outside:
        files = Path(outside)
        phantom = generate(shape=(6, 96, 96), voxel_size=VOXEL, seed=3)
        depth = -(-SHAPE[0] // 6)
        raw = np.concatenate([np.roll(phantom.raw, 7 * n, axis=2) for n in range(depth)])
        tifffile.imwrite(files / "em.tif", raw[: SHAPE[0], : SHAPE[1], : SHAPE[2]])
        tifffile.imwrite(files / "painted.tif", phantom.raw)
        exports = disk / "exports"
        exports.mkdir()
        options = Options(
            home=disk / "home", import_roots=[files], export_roots=[exports], environment=_SETTINGS
        )
        with Platform(options) as platform, Client(platform.connection) as client:
            client.put_label_class(1, "mitochondria")
            for name in ("em", "painted"):
                job = client.import_volume(files / f"{name}.tif", dataset=name, voxel_size=VOXEL)
                client.wait(job, timeout=120)
            parameters = {"feature_maps": 8, "levels": 3}
            client.create_model(
                "unet", classes=[0, 1], architecture="unet2d-quarter", parameters=parameters
            )
            box = Box((0, 0, 0), (3, 96, 96))
            client.commit("painted", box, phantom.labels[box.slices], tool="chaos")
            settings = jobs_pb2.TrainingSettings(
                steps=20, batch_size=2, seed=1, patch=shape_proto((1, 64, 64))
            )
            client.wait(client.train("unet", "painted", settings=settings), timeout=180)
            worker = Worker(platform)
            worker.ensure()
            try:
                with SyncStubs(platform.connection) as stubs:
                    yield Stand(platform, client, stubs, worker, disk, fillable)
            finally:
                worker.stop()
