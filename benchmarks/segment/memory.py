"""The memory of every process while volumes of two sizes are segmented."""

import argparse
import tempfile
import threading
import time
from contextlib import suppress
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from benchmarks.segment import subject
from biosegment.cli.up.platform import Options, Platform
from biosegment.client import Client
from biosegment.client.connection import SERVICES
from biosegment.client.geometry import ZYX
from biosegment.phantom import generate
from biosegment.v1 import jobs_pb2

# Two blocks of the usual extent, and as many of the same extent as make a hundred times the voxels.
SMALL: ZYX = (16, 1536, 768)
LARGE: ZYX = (100, 4608, 4096)
QUICK: ZYX = (32, 1536, 1536)
# As little to compute as a network can have, so that it is the volume that counts.
TINY = {"feature_maps": 1, "levels": 1}
_PAUSE_SECONDS = 0.1


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Runs the part; the figures."""
    sizes = {"small": SMALL, "large": QUICK if given.quick else LARGE}
    phantom = generate(shape=(1, 128, 128), voxel_size=subject.VOXEL, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        options = Options(home=home / "home", import_roots=[home])
        with Platform(options) as platform, Client(platform.connection) as client:
            subject.imported(client, home, "em", phantom.raw)
            version = subject.trained(
                client, "em", phantom.labels, rows=128, steps=2, parameters=TINY, crop=64
            )
            # Loads the network, and whatever a first job loads besides.
            client.wait(client.segment(version, "em", segmentation="first"))
            for name, shape in sizes.items():
                subject.unstored(platform, name, shape)
            found = {name: _watched(platform, client, version, name) for name in sizes}
    seconds = {name: found[name]["seconds"] for name in sizes}
    voxels = {name: prod(shape) for name, shape in sizes.items()}
    per_voxel = {name: seconds[name] / voxels[name] for name in sizes}
    return {
        **{f"peak_mb_{name}": found[name]["sum"] for name in sizes},
        **{f"peak_mb_{name}_by_process": found[name]["processes"] for name in sizes},
        "voxels_small": voxels["small"],
        "voxels_large": voxels["large"],
        **{f"seconds_{name}": round(seconds[name], 2) for name in sizes},
        "seconds_per_voxel_large_over_small": round(per_voxel["large"] / per_voxel["small"], 3),
    }


def _watched(platform: Platform, client: Client, version: str, name: str) -> dict[str, Any]:
    begin = time.perf_counter()
    with _Watch(platform) as watch:
        job = client.wait(client.segment(version, name, segmentation="watched"))
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED
    figures = {
        "seconds": time.perf_counter() - begin,
        "sum": watch.sum >> 20,
        "processes": {name: peak >> 20 for name, peak in sorted(watch.peaks.items())},
    }
    print(name, figures, flush=True)
    return figures


class _Watch:
    """Looks at the resident memory of a platform's processes ten times a second.

    Attributes:
        peaks: The most of each process, in bytes.
        sum: The most of all of them at one time, in bytes; what they share counts in each.
    """

    def __init__(self, platform: Platform) -> None:
        self.peaks: dict[str, int] = {}
        self.sum = 0
        self._processes = {
            name: psutil.Process(pid)
            for name in ("nats", *SERVICES, "gateway")
            if (pid := platform.process(name)) is not None
        }
        self._processes["inference child"] = subject.child_of(platform)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE_SECONDS):
            now: dict[str, int] = {}
            for name, process in self._processes.items():
                with suppress(psutil.NoSuchProcess):
                    now[name] = process.memory_info().rss
            self.sum = max(self.sum, sum(now.values()))
            for name, size in now.items():
                self.peaks[name] = max(self.peaks.get(name, 0), size)

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
