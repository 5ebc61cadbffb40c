"""A whole job beside the bare network, and beside a sliding window over the same voxels."""

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from benchmarks.segment import bare, subject
from biosegment.cli.up.platform import Options, Platform
from biosegment.client import Client
from biosegment.client.geometry import Box
from biosegment.client.stubs import SyncStubs
from biosegment.phantom import generate
from biosegment.runtime import objects
from biosegment.v1 import jobs_pb2

_SWEEP_VOXELS, _TURN_VOXELS = 1 << 20, 1 << 22
_INSTALL = ".venv/bin/pip install -c constraints.txt -e '.[bench]'"


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Runs the part; the figures."""
    raw, labels, source = _data(given)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        options = Options(home=home / "home", import_roots=[home])
        begin = time.perf_counter()
        with (
            Platform(options) as platform,
            Client(platform.connection) as client,
            ProcessPoolExecutor(1, get_context("spawn"), os.setsid) as process,
        ):
            start_seconds = time.perf_counter() - begin
            part = _Part(platform, client, process, given)
            subject.imported(client, home, "em", raw)
            rows = raw.shape[1] // 2
            version = subject.trained(client, "em", labels, rows=rows, steps=given.steps)
            found = part.run(raw, version, home)
            sliding = part.sliding(raw)
            held_out = np.s_[:, rows:]
            made = part.labels_of("em-whole", raw.shape)
            figures = {
                "data": source,
                "voxels": raw.size,
                **found,
                "platform_start_seconds": round(start_seconds, 2),
                "job_iou": _iou(made[held_out], labels[held_out]),
                "labels_unlike_torch": float((made != part.torchs_labels(raw)).mean()),
            }
            if sliding is None:
                return figures
            seconds, guess = sliding
            return {
                **figures,
                "sliding_window_seconds": round(seconds, 2),
                "sliding_window_over_job": round(seconds / found["job_seconds"], 2),
                "sliding_window_iou": _iou(guess[held_out], labels[held_out]),
                **part.compiled_sliding(raw, found),
            }


def _data(given: argparse.Namespace) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str]:
    """Raw voxels and labels (1 in mitochondria), ZYX, and what they are called."""
    side = 512 if given.quick else 1024
    if given.data is None:
        shape = (given.sections, side, side)
        phantom = generate(shape=shape, voxel_size=subject.VOXEL, seed=1)
        return phantom.raw, phantom.labels, "phantom"
    raw, labels = (tifffile.imread(given.data / name) for name in ("raw.tif", "mito.tif"))
    taken = np.arange(given.sections) % len(raw)
    cut = np.s_[:, :side, :side] if given.quick else np.s_[:]
    return raw[taken][cut], (labels[taken][cut] > 0).astype(np.uint8), given.data.name


def _iou(guess: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    both = np.logical_and(guess == 1, truth == 1).sum()
    return round(float(both / max(1, np.logical_or(guess == 1, truth == 1).sum())), 4)


class _Part:
    """The ways to segment the same voxels, on one platform."""

    def __init__(
        self,
        platform: Platform,
        client: Client,
        process: ProcessPoolExecutor,
        given: argparse.Namespace,
    ) -> None:
        self._platform = platform
        self._client = client
        self._process = process
        self._given = given
        self._compiled = False

    def run(self, raw: NDArray[np.uint8], version: str, home: Path) -> dict[str, Any]:
        """The job and the bare network in turns, then the job with a fresh child, then tiles."""
        with SyncStubs(self._platform.connection) as stubs:
            weights = objects.read(stubs, self._client.version(version).weights)
        threads, self._compiled = self._here(bare.load, weights)
        tile, rates = self._here(bare.best_tile, raw, _SWEEP_VOXELS)
        print("voxels per second by tile:", rates, flush=True)
        torchs_tile, torchs_rates = self._here(bare.best_tile, raw, _SWEEP_VOXELS, True)
        print("by torch:", torchs_rates, flush=True)

        def bare_rate() -> float:
            return float(self._here(bare.forwards, raw, tile, _TURN_VOXELS))

        def torchs_rate() -> float:
            return float(self._here(bare.forwards, raw, torchs_tile, _TURN_VOXELS, True))

        first = self.job(version, "em", "first")
        bares, torchs, jobs = [bare_rate()], [torchs_rate()], []
        for turn in range(self._given.turns):
            name = "whole" if turn == 0 else f"whole-{turn}"
            jobs.append(self.job(version, "em", name))
            bares.append(bare_rate())
            torchs.append(torchs_rate())
            print(f"job {raw.size / jobs[-1]:.0f}, bare {bares[-1]:.0f} voxels/s", flush=True)
        # Each job against the bare network just before and just after it.
        ratios = [
            raw.size / job / ((before + after) / 2)
            for job, before, after in zip(jobs, bares, bares[1:], strict=False)
        ]
        subject.child_of(self._platform).kill()
        restarted = self.job(version, "em", "restarted")
        rate = median(bares)
        return {
            "threads": threads,
            "engine": "openvino" if self._compiled else "torch",
            "bare_tile": tile,
            "bare_voxels_per_second": round(rate),
            "torch_voxels_per_second": round(median(torchs)),
            "bare_over_torch": round(rate / median(torchs), 3),
            "job_seconds": round(median(jobs), 2),
            "job_voxels_per_second": round(raw.size / median(jobs)),
            "job_over_bare": round(median(ratios), 3),
            "job_over_bare_first": round(raw.size / first / rate, 3),
            "job_over_bare_with_child_start": round(raw.size / restarted / rate, 3),
            **self._cut(raw, version, home, bare_rate),
        }

    def _cut(
        self,
        raw: NDArray[np.uint8],
        version: str,
        home: Path,
        bare_rate: Callable[[], float],
    ) -> dict[str, Any]:
        """Sections four times as large, which no forward takes whole: halos cost there."""
        large = np.tile(raw[: max(1, min(len(raw), 20) // 4)], (1, 4, 4))
        subject.imported(self._client, home, "large", large)
        ratios = []
        for turn in range(self._given.turns):
            before = bare_rate()
            seconds = self.job(version, "large", f"cut-{turn}")
            ratios.append(large.size / seconds / ((before + bare_rate()) / 2))
            print(f"large sections: job over bare {ratios[-1]:.3f}", flush=True)
        return {
            "large_section": large.shape[1:],
            "job_over_bare_large_sections": round(median(ratios), 3),
        }

    def job(self, version: str, dataset: str, name: str) -> float:
        """Seconds from asking for a segmentation to knowing that it has succeeded."""
        begin = time.perf_counter()
        job = self._client.wait(self._client.segment(version, dataset, segmentation=name))
        seconds = time.perf_counter() - begin
        assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED
        return seconds

    def sliding(self, raw: NDArray[np.uint8]) -> tuple[float, NDArray[np.uint8]] | None:
        """The sliding window; None where MONAI is not installed."""
        if importlib.util.find_spec("monai") is None:
            print(f"no sliding window: MONAI is not installed here; {_INSTALL}", flush=True)
            return None
        seconds, guess = self._here(bare.sliding_window, raw)
        print(f"sliding window: {seconds:.1f} s", flush=True)
        return seconds, guess

    def compiled_sliding(self, raw: NDArray[np.uint8], found: dict[str, Any]) -> dict[str, Any]:
        """The sliding window with the job's engine, where that is not torch."""
        if not self._compiled:
            return {}
        seconds, _ = self._here(bare.sliding_window, raw, False)
        print(f"sliding window by OpenVINO: {seconds:.1f} s", flush=True)
        return {"compiled_sliding_window_over_job": round(seconds / found["job_seconds"], 2)}

    def torchs_labels(self, raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The class values that torch finds in float32."""
        found: NDArray[np.uint8] = self._here(bare.labels, raw)
        return found

    def labels_of(self, volume: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """The class values of a segmentation's volume, ZYX."""
        z, y, x = shape
        name = f"projects/default/volumes/{volume}"
        found: NDArray[np.uint8] = self._client.read(name, Box((0, 0, 0), (z, y, x)))
        return found

    def _here(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._process.submit(function, *arguments).result()
