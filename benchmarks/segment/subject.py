"""What is segmented, and with what: a platform with data in it and a trained network."""

import signal
import time
import uuid
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import tifffile
from numpy.typing import NDArray

from biosegment.cli.up.platform import Platform
from biosegment.client import Client
from biosegment.client.errors import NotFoundError
from biosegment.client.geometry import ZYX, Box, shape_proto
from biosegment.client.stubs import SyncStubs
from biosegment.v1 import jobs_pb2, storage_pb2, types_pb2

VOXEL = (45.0, 9.2, 9.2)
_PROJECT = "projects/default"


def imported(client: Client, folder: Path, name: str, raw: NDArray[np.uint8]) -> None:
    """Makes a data set of an array, ZYX."""
    tifffile.imwrite(folder / f"{name}.tif", raw, photometric="minisblack")
    client.wait(client.import_volume(folder / f"{name}.tif", dataset=name, voxel_size=VOXEL))


def trained(
    client: Client,
    dataset: str,
    labels: NDArray[np.uint8],
    *,
    rows: int,
    steps: int,
    architecture: str = "unet2d-quarter",
    parameters: dict[str, int] | None = None,
    crop: int = 128,
) -> str:
    """Trains a network on the first rows of a data set; the name of the version.

    Args:
        client: Of the platform.
        dataset: The data set, imported.
        labels: Class values of all of it, ZYX.
        rows: How many rows of every section it learns from.
        steps: Training steps.
        architecture: As ``biosegment model architectures`` has it.
        parameters: Of the architecture.
        crop: Edge of training crops.
    """
    client.put_label_class(1, "mitochondria")
    client.create_model(
        "unet", classes=[0, 1], architecture=architecture, parameters=parameters or {}
    )
    for z in range(len(labels)):
        box = Box((z, 0, 0), (z + 1, rows, labels.shape[2]))
        client.commit(dataset, box, labels[box.slices], tool="benchmark")
    settings = jobs_pb2.TrainingSettings(
        steps=steps, batch_size=8, patch=shape_proto((1, crop, crop)), seed=1
    )
    job = client.wait(client.train("unet", dataset, settings=settings))
    return job.result.train_result.version


def unstored(platform: Platform, name: str, shape: ZYX) -> None:
    """Makes a data set whose raw volume has metadata and not one chunk: it reads as zeros.

    Does over the wire what the ingest service does for an import, except for writing voxels. That
    service is held meanwhile, so that it does not take the job.
    """
    volume, size = f"{_PROJECT}/volumes/{name}", types_pb2.VoxelSize(z=45.0, y=9.2, x=9.2)
    spec = jobs_pb2.ImportSpec(source_path="/nowhere.tif", volume=volume, voxel_size=size)
    spec.dataset.name = f"{_PROJECT}/datasets/{name}"
    result = jobs_pb2.ImportResult(volume=volume, shape=shape_proto(shape), voxel_size=size)
    described = storage_pb2.Volume(
        name=volume,
        kind=storage_pb2.VOLUME_KIND_IMAGE,
        data_type=types_pb2.DATA_TYPE_UINT8,
        voxel_size=size,
        levels=[storage_pb2.VolumeLevel(shape=shape_proto(shape))],
    )
    with SyncStubs(platform.connection) as stubs:
        stubs.storage.CreateVolume(storage_pb2.CreateVolumeRequest(volume=described))
        stubs.storage.FinishVolume(storage_pb2.FinishVolumeRequest(name=volume))
        platform.kill("ingest", signal.SIGSTOP)
        try:
            job = stubs.jobs.CreateJob(
                jobs_pb2.CreateJobRequest(
                    parent=_PROJECT,
                    request_id=str(uuid.uuid4()),
                    job=jobs_pb2.Job(kind=jobs_pb2.JOB_KIND_IMPORT, import_spec=spec),
                )
            ).job
            held = stubs.workers.ClaimJob(
                jobs_pb2.ClaimJobRequest(job=job.name, holder="benchmark")
            ).job
            stubs.workers.CompleteJob(
                jobs_pb2.CompleteJobRequest(
                    job=job.name,
                    attempt=held.attempt,
                    result=jobs_pb2.JobResult(import_result=result),
                )
            )
        finally:
            platform.kill("ingest", signal.SIGCONT)


def child_of(platform: Platform) -> psutil.Process:
    """The process in which the inference service computes.

    Raises:
        NotFoundError: There is none.
    """
    pid = platform.process("inference")
    assert pid is not None
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):
            if any("spawn_main" in word for word in process.cmdline()):
                return process
    raise NotFoundError("The inference service has no child process.")


def wait_for_child(platform: Platform, seconds: float = 120.0) -> None:
    """Waits until the child has loaded what it needs and rests.

    Raises:
        NotFoundError: It did not within the time.
    """
    deadline, busy = time.monotonic() + seconds, 0.0
    while time.monotonic() < deadline:
        with suppress(NotFoundError, psutil.Error):
            used = sum(child_of(platform).cpu_times()[:2])
            if used > 1.0 and used - busy < 0.02:
                return
            busy = used
        time.sleep(0.5)
    raise NotFoundError("The child of the inference service did not come to rest.")
