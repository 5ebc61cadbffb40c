"""The heavy part of imports and exports; runs in a child process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from biosegment.client.connection import Connection
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.stubs import SyncStubs
from biosegment.ingest import ome_zarr_target, slabs, tiff_source, tiff_target
from biosegment.ingest.class_check import checked
from biosegment.runtime.arrays import VolumeArray, build_pyramid
from biosegment.runtime.child import ChildContext
from biosegment.runtime.grey import GreyMeter, measured


@contextmanager
def _volume(connection: str, name: str) -> Iterator[VolumeArray]:
    with SyncStubs(Connection.load(Path(connection))) as stubs:
        yield VolumeArray.open(stubs, name)


class _Reports:
    """Progress of one stage to the parent; each call is also where cancellation stops the work."""

    def __init__(self, context: ChildContext, stage: str) -> None:
        self._context = context
        self._stage = stage

    def __call__(self, done: int, total: int) -> None:
        self._context.check()
        self._context.report({"done": done, "total": total, "stage": self._stage})


def run_import(
    context: ChildContext,
    *,
    connection: str,
    files: list[str],
    volume: str,
    classes: list[int] | None,
) -> tuple[int, bytes]:
    """Fills every level of a volume from TIFF pages.

    Args:
        context: Of the child process.
        connection: Path of the connection file.
        files: As tiff_source.find_files found them.
        volume: The volume, made and not finished.
        classes: For labels: the values that may occur.

    Returns:
        Bytes of voxels read, and the GreyStatistics of an image.

    Raises:
        InvalidArgumentError: The files changed since they were looked at, or a page is damaged or
            holds a value that is not in the class table.
        JobCancelledError: The parent asked to stop.
    """
    stack = tiff_source.scan([Path(file) for file in files], context.check)
    with _volume(connection, volume) as target:
        if (stack.shape, stack.dtype) != (target.shape(), target.dtype):
            raise InvalidArgumentError(
                f"{files[0]} changed while it was imported: {volume} was made for other pages. "
                "Import it again.",
                name=volume,
            )
        pages, meter = stack.pages(), GreyMeter()
        pages = measured(pages, meter) if classes is None else checked(pages, classes, files[0])
        slabs.write_pages(target, pages, _Reports(context, "reading"))
        build_pyramid(target, _Reports(context, "pyramid"))
        read = stack.shape[0] * stack.shape[1] * stack.shape[2] * stack.dtype.itemsize
        return read, meter.statistics().SerializeToString()


def run_export(
    context: ChildContext, *, connection: str, volume: str, path: str, file_format: str
) -> int:
    """Writes a volume to a path that does not exist yet.

    Args:
        context: Of the child process.
        connection: Path of the connection file.
        volume: The volume, complete.
        path: The temporary path to write.
        file_format: "tiff" or "ome-zarr".

    Returns:
        Bytes on disk.

    Raises:
        JobCancelledError: The parent asked to stop.
    """
    reports = _Reports(context, "writing")
    with _volume(connection, volume) as source:
        source.ready()
        if file_format == "tiff":
            return tiff_target.write(source, Path(path), reports)
        return ome_zarr_target.write(source, Path(path), reports)
