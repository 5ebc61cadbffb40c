"""What telling instances apart in blocks costs beside doing it at once, and in how much memory.

Brings up a platform of its own, imports labels of two sizes, and has their instances found and
measured: the whole job, from the start of it to its end, tables and pyramid included. The bare
limit is cc3d on the whole array in memory, components and statistics. The last line is one JSON
object.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import psutil
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from biosegment.cli.up.platform import Options, Platform
from biosegment.client import Client
from biosegment.v1 import jobs_pb2

TILE = (64, 256, 256)
VOXEL = (8.0, 8.0, 8.0)
# The write unit of volumes from 64 Mvoxel on, so that both sizes have the same blocks.
BLOCK = (256, 128, 128)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tiles", type=int, default=48, help="tiles of 64 × 256 × 256, at most")
    arguments.add_argument("--fill-holes", action="store_true", help="fill holes too")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options = Options(home=Path(folder) / "home", import_roots=[Path(folder)])
        with Platform(options) as platform, Client(platform.connection) as client:
            client.put_label_class(1, "blobs")
            # The first job also starts the children and loads their libraries.
            sizes = {"first": 1, "small": 16, "large": given.tiles}
            found = {
                name: measured(client, platform, Path(folder), name, tiles, given.fill_holes)
                for name, tiles in sizes.items()
            }
    large = found["large"]
    result = {
        "voxels": large["voxels"],
        "instances": large["instances"],
        "blocks": large["blocks"],
        "bare_seconds": large["bare_seconds"],
        "job_seconds": large["job_seconds"],
        "job_over_bare": round(large["job_seconds"] / large["bare_seconds"], 2),
        "mvoxel_per_second": round(large["voxels"] / large["job_seconds"] / 1e6, 2),
        "peak_mb_small": found["small"]["peak_mb"],
        "peak_mb_large": large["peak_mb"],
        "large_over_small_voxels": large["voxels"] / found["small"]["voxels"],
    }
    print(json.dumps(result))


def measured(
    client: Client, platform: Platform, folder: Path, name: str, tiles: int, fill_holes: bool
) -> dict[str, Any]:
    """Runs one size; the peak is that of the child since the service started."""
    values = labels(tiles)
    tifffile.imwrite(folder / f"{name}.tif", values)
    client.wait(client.import_volume(folder / f"{name}.tif", dataset=name, voxel_size=VOXEL))
    imported = client.wait(client.import_labels(folder / f"{name}.tif", dataset=name))
    source = imported.result.import_result.volume
    begin = time.perf_counter()
    whole = cc3d.connected_components(values, connectivity=26)
    cc3d.statistics(whole)
    bare = time.perf_counter() - begin
    expected = int(whole.max())
    del whole
    begin = time.perf_counter()
    job = client.wait(client.instances(source, volume=name, fill_holes=fill_holes, block=BLOCK))
    seconds = time.perf_counter() - begin
    assert job.state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert job.result.instances_result.instances == expected
    figures = {
        "voxels": values.size,
        "instances": expected,
        "blocks": job.blocks.total,
        "bare_seconds": round(bare, 3),
        "job_seconds": round(seconds, 3),
        "peak_mb": peak_mb(platform),
    }
    print(name, figures)
    return figures


def labels(tiles: int) -> NDArray[np.uint8]:
    """Blobs, the same in every tile, on a fifth of the voxels."""
    field = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(TILE), 4, mode="wrap")
    tile = (field > np.quantile(field, 0.8)).astype(np.uint8)
    return np.concatenate([tile] * tiles)


def peak_mb(platform: Platform) -> int:
    """Largest resident memory so far of any child of the inference service, in MiB (Linux)."""
    pid = platform.process("inference")
    assert pid is not None
    peaks = []
    for child in psutil.Process(pid).children(recursive=True):
        status = Path(f"/proc/{child.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        peaks.append(int(line.split()[1]) // 1024)
    return max(peaks)


if __name__ == "__main__":
    main()
