"""Checks an export before there is a job."""

from pathlib import Path

from biosegment.client import arrays, names
from biosegment.client.complete import check_complete
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.stubs import AsyncStubs
from biosegment.ingest import tiff_target
from biosegment.ingest.looks import Looks
from biosegment.ingest.roots import Roots
from biosegment.v1 import jobs_pb2, registry_pb2, storage_pb2

FORMATS = {"tiff": (".tif", ".tiff"), "ome-zarr": (".zarr",)}
"""Endings of names by format; a name without one is as good."""
# More than a project can have.
_CLASSES = 1000


async def plan(
    stubs: AsyncStubs, looks: Looks, roots: Roots, parent: str, spec: jobs_pb2.ExportSpec
) -> None:
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
    _check_ending(spec)
    await looks.run("check_new", path=spec.destination_path, roots=roots)
    answer = await stubs.storage.GetVolume(storage_pb2.GetVolumeRequest(name=spec.volume))
    volume = check_complete(answer.volume)
    if spec.format == "tiff":
        tiff_target.check(volume, arrays.dtype_of(volume.data_type))


def _check_ending(spec: jobs_pb2.ExportSpec) -> None:
    suffix = Path(spec.destination_path).suffix
    endings = FORMATS[spec.format]
    if suffix and suffix.lower() not in endings:
        raise InvalidArgumentError(
            f"{spec.destination_path[:200]} ends in {suffix[:20]}, but would be {spec.format}; "
            f"give it a name that ends in {' or '.join(endings)}, or another --format.",
            field="spec.destination_path",
        )


async def palette(stubs: AsyncStubs, volume: str) -> dict[int, str]:
    """Colours (#rrggbb) of the classes of a project by value, for its label volumes."""
    project = volume.partition("/volumes/")[0]
    answer = await stubs.registry.ListLabelClasses(
        registry_pb2.ListLabelClassesRequest(parent=project, page_size=_CLASSES)
    )
    return {label.value: label.color for label in answer.label_classes if label.color}
