"""A volume as one multi-page TIFF file that Fiji opens with its voxel size, and shows."""

from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from biosegment.client.arrays import NOT_LABELLED
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import Box
from biosegment.ingest.slabs import read_pages
from biosegment.runtime.arrays import VolumeArray
from biosegment.v1 import storage_pb2

# Classic TIFF counts bytes in 32 bits; deflate may lengthen what it cannot shorten.
_CLASSIC_BYTES = (4 << 30) - (64 << 20)
_IMAGEJ_DTYPES = {"uint8", "uint16", "int16", "float32"}
_DTYPES = _IMAGEJ_DTYPES | {"uint32", "int8"}
_SAMPLE_SECTIONS = 16
# Of the voxels of an image, so many may be darker or brighter than what is shown.
_SHOWN_PERCENTILES = (0.1, 99.9)
_GREY = (128, 128, 128)


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
    colors: Mapping[int, str] | None = None,
    classic_bytes: int = _CLASSIC_BYTES,
) -> int:
    """Writes the finest level, page by page, deflated.

    What fits in classic TIFF is written with ImageJ's metadata, the rest as BigTIFF with OME-XML,
    which Fiji reads through Bio-Formats. Labels of 8 bit have a palette of their classes' colours.

    Args:
        volume: Axes ZYX.
        path: The file to make.
        progress: Called with (pages done, pages in all); may raise to stop.
        colors: #rrggbb by class, for labels.
        classic_bytes: Voxel bytes from which on BigTIFF is written.

    Returns:
        Bytes on disk.
    """
    shape, dtype, size = volume.shape(), volume.dtype, volume.volume.voxel_size
    classic = prod(shape) * dtype.itemsize < classic_bytes and dtype.name in _IMAGEJ_DTYPES
    classes = volume.volume.kind == storage_pb2.VOLUME_KIND_LABELS and dtype.name == "uint8"
    # ImageJ knows micrometres; pixels per micrometre keep the numbers within TIFF's fractions.
    if classic:
        shown = (0.0, 255.0) if dtype.name == "uint8" else _range_of(volume)
        options: dict[str, Any] = {
            "resolution": (1000 / size.x, 1000 / size.y),
            "metadata": {"axes": "ZYX", "spacing": size.z / 1000, "unit": "um"},
        }
        if shown is not None:
            options["metadata"] |= {"min": shown[0], "max": shown[1]}
    else:
        sizes = {f"PhysicalSize{axis}": getattr(size, axis.lower()) for axis in "XYZ"}
        units = {f"PhysicalSize{axis}Unit": "nm" for axis in "XYZ"}
        options = {"metadata": {"axes": "ZYX", **sizes, **units}}
    if classes:
        options |= {"photometric": "palette", "colormap": _palette(colors or {})}
    else:
        options["photometric"] = "minisblack"

    def pages() -> Iterator[NDArray[Any]]:
        for n, page in enumerate(read_pages(volume)):
            progress(n, shape[0])
            yield np.ascontiguousarray(page)

    with tifffile.TiffWriter(path, bigtiff=not classic, imagej=classic, ome=not classic) as tiff:
        tiff.write(pages(), shape=shape, dtype=dtype, compression="zlib", maxworkers=1, **options)
    progress(shape[0], shape[0])
    return path.stat().st_size


def _palette(colors: Mapping[int, str]) -> NDArray[np.uint16]:
    """A TIFF colour map of 256 entries: a class without a colour is grey, as what is unlabelled."""
    table = np.empty((256, 3), np.uint16)
    table[:] = _GREY
    table[0] = 0
    for value, color in colors.items():
        if 0 <= value < NOT_LABELLED:
            table[value] = list(bytes.fromhex(color.removeprefix("#")))
    return np.ascontiguousarray(table.T) * np.uint16(257)


def _range_of(volume: VolumeArray) -> tuple[float, float] | None:
    """What to show as black and as white: a few sections of the coarsest level tell.

    None for signed numbers: ImageJ counts their range otherwise than their values.
    """
    if volume.dtype.kind == "i":
        return None
    level = len(volume.volume.levels) - 1
    depth, height, width = volume.shape(level)
    least, most = np.inf, -np.inf
    for z in range(0, depth, -(-depth // _SAMPLE_SECTIONS)):
        section = volume.read(Box((z, 0, 0), (z + 1, height, width), level))
        low, high = np.percentile(section, _SHOWN_PERCENTILES)
        least, most = min(least, float(low)), max(most, float(high))
    return (least, most) if most > least else None
