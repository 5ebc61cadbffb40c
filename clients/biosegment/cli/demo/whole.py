"""The whole volume: segmented, measured, exported."""

import time
from dataclasses import dataclass
from math import prod
from pathlib import Path

from biosegment.cli.demo.display import Display
from biosegment.cli.demo.setup import CLASS, DATASET, Scene
from biosegment.client import Client
from biosegment.client.errors import FailedPreconditionError
from biosegment.client.geometry import BlockGrid
from biosegment.v1 import jobs_pb2

_SLAB_PIXELS = 1 << 24


@dataclass(frozen=True, slots=True)
class Segmented:
    """The segmentation of the whole volume.

    Attributes:
        volume: Its label volume.
        version: The model version that made it.
        voxels: Voxels segmented.
        seconds: From start to the finished volume.
        iou: Against the truth, in the half that no patch came from.
    """

    volume: str
    version: str
    voxels: int
    seconds: float
    iou: float


def segment(client: Client, scene: Scene, version: str, display: Display) -> Segmented:
    """Segments the whole volume with a version and measures the result.

    Raises:
        FailedPreconditionError: Some blocks were lost.
        DomainError: The job failed.
    """
    began = time.monotonic()
    with display.doing("Segmenting the whole volume") as doing:
        job = client.segment(version, DATASET, segmentation="last")
        done = client.wait(job, lambda job: doing.job("Segmenting the whole volume", job))
    seconds = time.monotonic() - began
    if done.state != jobs_pb2.JOB_STATE_SUCCEEDED:
        raise FailedPreconditionError(f"{done.name} lost {done.blocks.quarantined} blocks.")
    result = done.result.segment_result
    with display.doing("Comparing with the truth"):
        iou = held_out_iou(client, scene, result.volume)
    voxels = result.voxels or prod(scene.shape)
    display.say(
        f"Segmented {voxels} voxels in {seconds:.1f} s, IoU {iou:.3f} on the held-out half."
    )
    return Segmented(result.volume, version, voxels, seconds, iou)


def held_out_iou(client: Client, scene: Scene, volume: str) -> float:
    """Intersection over union of the class in the held-out half, read slab by slab.

    Where neither holds the class there is nothing to miss, and the answer is 1.
    """
    z, y, x = scene.held_out.shape
    sections = max(1, min(z, _SLAB_PIXELS // (y * x)))
    rows = max(1, min(y, _SLAB_PIXELS // x))
    shared = either = 0
    for box in BlockGrid(scene.held_out, (sections, rows, x)):
        guess = client.read(volume, box) == CLASS
        truth = client.read(scene.truth, box) == CLASS
        shared += int((guess & truth).sum())
        either += int((guess | truth).sum())
    return shared / either if either else 1.0


def export(client: Client, volume: str, out: Path, display: Display) -> dict[str, str]:
    """Writes the segmentation as a TIFF stack and as OME-Zarr; their paths by format."""
    paths = {"tiff": out / "segmentation.tif", "ome-zarr": out / "segmentation.ome.zarr"}
    with display.doing("Exporting") as doing:
        for form, path in paths.items():
            job = client.export(volume, path, format=form)
            client.wait(job, lambda job: doing.job("Exporting", job))
            display.say(f"Exported {path}.")
    return {form: str(path) for form, path in paths.items()}
