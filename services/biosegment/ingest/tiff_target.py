"""A volume as one multi-page TIFF file that Fiji opens with its voxel size."""

from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from biosegment.client.errors import InvalidArgumentError
from biosegment.ingest.slabs import read_pages
from biosegment.runtime.arrays import VolumeArray
from biosegment.v1 import storage_pb2

# Classic TIFF counts bytes in 32 bits; deflate may lengthen what it cannot shorten.
_CLASSIC_BYTES = (4 << 30) - (64 << 20)
_IMAGEJ_DTYPES = {"uint8", "uint16", "float32"}
_DTYPES = _IMAGEJ_DTYPES | {"uint32"}


def check(volume: storage_pb2.Volume, dtype: np.dtype[np.generic]) -> None:
    """Can the volume be written as TIFF?

    Raises:
        InvalidArgumentError: It cannot.
    """
    if volume.channels or dtype.name not in _DTYPES:
        raise InvalidArgumentError(
            f"{volume.name} holds {dtype.name} with {volume.channels or 1} channel(s); a TIFF "
            f"export takes one channel of {', '.join(sorted(_DTYPES))}. Export it as ome-zarr.",
            name=volume.name,
        )


def write(
    volume: VolumeArray,
    path: Path,
    progress: Callable[[int, int], None],
    *,
    classic_bytes: int = _CLASSIC_BYTES,
) -> int:
    """Writes the finest level, page by page, deflated.

    What fits in classic TIFF is written with ImageJ's metadata, the rest as BigTIFF with OME-XML,
    which Fiji reads through Bio-Formats.

    Args:
        volume: Axes ZYX.
        path: The file to make.
        progress: Called with (pages done, pages in all); may raise to stop.
        classic_bytes: Voxel bytes from which on BigTIFF is written.

    Returns:
        Bytes on disk.
    """
    shape, dtype, size = volume.shape(), volume.dtype, volume.volume.voxel_size
    classic = prod(shape) * dtype.itemsize < classic_bytes and dtype.name in _IMAGEJ_DTYPES
    # ImageJ knows micrometres; pixels per micrometre keep the numbers within TIFF's fractions.
    if classic:
        options: dict[str, Any] = {
            "resolution": (1000 / size.x, 1000 / size.y),
            "metadata": {"axes": "ZYX", "spacing": size.z / 1000, "unit": "um"},
        }
    else:
        sizes = {f"PhysicalSize{axis}": getattr(size, axis.lower()) for axis in "XYZ"}
        units = {f"PhysicalSize{axis}Unit": "nm" for axis in "XYZ"}
        options = {"metadata": {"axes": "ZYX", **sizes, **units}}

    def pages() -> Iterator[NDArray[Any]]:
        for n, page in enumerate(read_pages(volume)):
            progress(n, shape[0])
            yield np.ascontiguousarray(page)

    with tifffile.TiffWriter(path, bigtiff=not classic, imagej=classic, ome=not classic) as tiff:
        tiff.write(
            pages(),
            shape=shape,
            dtype=dtype,
            compression="zlib",
            photometric="minisblack",
            maxworkers=1,
            **options,
        )
    progress(shape[0], shape[0])
    return path.stat().st_size
