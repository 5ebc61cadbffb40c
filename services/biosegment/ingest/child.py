"""The heavy part of imports and exports; runs in a child process."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np

from biosegment.client.connection import Connection
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.label_values import LabelReader
from biosegment.client.stubs import SyncStubs
from biosegment.ingest import ome_zarr_target, slabs, tiff_target
from biosegment.ingest.class_check import translated
from biosegment.ingest.readers.base import Stack
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
    source: str,
    stack: Stack,
    volume: str,
    labels: LabelReader | None,
) -> tuple[int, int, bytes]:
    """Fills every level of a volume from the pages of files.

    Args:
        context: Of the child process.
        connection: Path of the connection file.
        source: The path that was asked for, for messages.
        stack: What is there, as readers.folder.scan found it.
        volume: The volume, made and not finished.
        labels: For labels: what makes class values of their numbers.

    Returns:
        Bytes of voxels read; of labels the voxels that are not labelled; of an image its
        GreyStatistics.

    Raises:
        InvalidArgumentError: The files changed since they were looked at, or a page is damaged or
            holds a number that has no meaning or could have two.
        JobCancelledError: The parent asked to stop.
    """
    dtype = stack.dtype if labels is None else np.dtype(np.uint8)
    with _volume(connection, volume) as target:
        if (stack.shape, dtype) != (target.shape(), target.dtype):
            raise InvalidArgumentError(
                f"{source} changed while it was imported: {volume} was made for other pages. "
                "Import it again.",
                name=volume,
            )
        meter = GreyMeter()
        pages = measured(stack.pages(), meter) if labels is None else translated(stack, labels)
        slabs.write_pages(target, pages, _Reports(context, "reading"))
        if labels is not None:
            labels.finish()
        build_pyramid(target, _Reports(context, "pyramid"))
        left = labels.not_labelled if labels else 0
        grey = meter.statistics().SerializeToString()
        return prod(stack.shape) * stack.dtype.itemsize, left, grey


def run_export(
    context: ChildContext,
    *,
    connection: str,
    volume: str,
    path: str,
    file_format: str,
    palette: dict[int, str],
) -> int:
    """Writes a volume to a path that does not exist yet.

    Args:
        context: Of the child process.
        connection: Path of the connection file.
        volume: The volume, complete.
        path: The temporary path to write.
        file_format: "tiff" or "ome-zarr".
        palette: Colours (#rrggbb) by class.

    Returns:
        Bytes on disk.

    Raises:
        JobCancelledError: The parent asked to stop.
    """
    reports = _Reports(context, "writing")
    with _volume(connection, volume) as source:
        source.ready()
        if file_format == "tiff":
            return tiff_target.write(source, Path(path), reports, colors=palette)
        return ome_zarr_target.write(source, Path(path), reports)
