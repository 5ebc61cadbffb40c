"""Checks an export before there is a job, and names its temporary path."""

from pathlib import Path

from biosegment.client import arrays, names
from biosegment.client.complete import check_complete
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.stubs import AsyncStubs
from biosegment.ingest import tiff_target
from biosegment.ingest.roots import Roots
from biosegment.v1 import jobs_pb2, storage_pb2

FORMATS = ("tiff", "ome-zarr")


async def plan(stubs: AsyncStubs, roots: Roots, parent: str, spec: jobs_pb2.ExportSpec) -> None:
    """Checks everything about an export that can be known beforehand.

    Raises:
        InvalidArgumentError: The format is unknown or does not fit the volume.
        PathNotAllowedError: The destination lies outside the roots.
        AlreadyExistsError: Something is at the destination.
        NotFoundError: There is no such volume.
        FailedPreconditionError: The volume is not complete.
    """
    names.parse(names.PROJECT, parent)
    names.parse(names.VOLUME, spec.volume)
    if names.project_of(spec.volume) != parent:
        raise InvalidArgumentError(f"{spec.volume} does not belong to {parent}.", name=spec.volume)
    if spec.format not in FORMATS:
        raise InvalidArgumentError(
            f'"{spec.format[:40]}" is not a format to export; use {" or ".join(FORMATS)}.',
            field="spec.format",
        )
    roots.new(spec.destination_path)
    answer = await stubs.storage.GetVolume(storage_pb2.GetVolumeRequest(name=spec.volume))
    volume = check_complete(answer.volume)
    if spec.format == "tiff":
        tiff_target.check(volume, arrays.dtype_of(volume.data_type))


def draft_pattern(destination: Path, job: str) -> str:
    """Glob of the temporary names that attempts of a job use beside the destination.

    Args:
        destination: Where the export will be.
        job: projects/p/jobs/j
    """
    return f".{destination.name}.{job.rpartition('/')[2]}-*.part"


def draft_path(destination: Path, job: str, attempt: int) -> Path:
    """The temporary path of one attempt."""
    name = draft_pattern(destination, job).replace("*", str(attempt))
    return destination.with_name(name)
