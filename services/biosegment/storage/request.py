"""Checks a request for a new volume and decides what the request leaves open."""

from math import isfinite, prod

import numpy as np

from biosegment.client import arrays, names
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import ZYX, shape_of, shape_proto
from biosegment.storage import levels
from biosegment.v1 import storage_pb2

_MAX_EXTENT = 1 << 31
_MAX_VOXELS = 1 << 50
_MAX_CHANNELS = 4096
_MAX_NANOMETRES = 1e9
_MAX_UNIT_BYTES = 256 << 20


def plan(asked: storage_pb2.Volume) -> storage_pb2.Volume:
    """The volume that a request describes, with every level, in state WRITING.

    Raises:
        InvalidArgumentError: The request is incomplete or makes no sense.
    """
    names.parse(names.VOLUME, asked.name)
    dtype = arrays.dtype_of(asked.data_type)
    volume_format = asked.format or storage_pb2.VOLUME_FORMAT_OME_ZARR
    _check_kind(asked, dtype)
    _check_fill(asked, dtype, volume_format)
    voxel_size = (asked.voxel_size.z, asked.voxel_size.y, asked.voxel_size.x)
    if not all(isfinite(v) and 0 < v <= _MAX_NANOMETRES for v in voxel_size):
        raise InvalidArgumentError(
            f"{asked.name} needs a voxel size in nanometres that is greater than 0 on each axis; "
            f"it was given as {voxel_size} (z, y, x).",
            field="volume.voxel_size",
        )
    shape = _shape(asked)
    planned = storage_pb2.Volume(
        kind=asked.kind,
        state=storage_pb2.VOLUME_STATE_WRITING,
        format=storage_pb2.VolumeFormat.ValueType(volume_format),
        data_type=asked.data_type,
        channels=asked.channels,
        voxel_size=asked.voxel_size,
        fill_value=asked.fill_value,
    )
    for factors in levels.downsampling_factors(shape, voxel_size):
        extent = levels.level_shape(shape, factors)
        size = (
            voxel_size[0] * factors[0],
            voxel_size[1] * factors[1],
            voxel_size[2] * factors[2],
        )
        chunk = levels.chunk_shape(extent, size)
        unit = levels.shard_shape(extent, chunk, dtype.itemsize)
        if not planned.levels:
            chunk, unit = _chosen(asked.levels[0], extent, chunk, unit, dtype.itemsize)
        planned.levels.add(
            shape=shape_proto(extent),
            chunk=shape_proto(chunk),
            write_unit=shape_proto(
                chunk if volume_format == storage_pb2.VOLUME_FORMAT_N5 else unit
            ),
            downsampling=shape_proto(factors),
        )
    return planned


def _check_kind(asked: storage_pb2.Volume, dtype: np.dtype[np.generic]) -> None:
    if asked.kind not in (storage_pb2.VOLUME_KIND_IMAGE, storage_pb2.VOLUME_KIND_LABELS):
        raise InvalidArgumentError(
            f"{asked.name} needs a kind, IMAGE or LABELS; it decides how the pyramid is made.",
            field="volume.kind",
        )
    if asked.kind == storage_pb2.VOLUME_KIND_LABELS and dtype.kind != "u":
        raise InvalidArgumentError(
            f"Labels are whole numbers; {asked.name} was asked for with {dtype.name}.",
            field="volume.data_type",
        )
    if asked.channels > _MAX_CHANNELS:
        raise InvalidArgumentError(
            f"{asked.channels} channels are more than the {_MAX_CHANNELS} that a volume may have.",
            field="volume.channels",
        )


def _check_fill(asked: storage_pb2.Volume, dtype: np.dtype[np.generic], layout: int) -> None:
    bits = 8 * dtype.itemsize - (dtype.kind == "i")
    if dtype.kind in "iu" and asked.fill_value >= 1 << bits:
        raise InvalidArgumentError(
            f"The fill value {asked.fill_value} does not fit {dtype.name}.",
            field="volume.fill_value",
        )
    if asked.fill_value and layout == storage_pb2.VOLUME_FORMAT_N5:
        raise InvalidArgumentError(
            f"N5 has no fill value: unwritten voxels read as 0. Store {asked.name} as OME-Zarr, "
            "or leave the fill value at 0.",
            field="volume.fill_value",
        )


def _shape(asked: storage_pb2.Volume) -> ZYX:
    if len(asked.levels) != 1:
        raise InvalidArgumentError(
            f"Describe one level of {asked.name}, the finest; {len(asked.levels)} were given.",
            field="volume.levels",
        )
    shape = shape_of(asked.levels[0].shape)
    if min(shape) < 1 or max(shape) > _MAX_EXTENT or prod(shape) > _MAX_VOXELS:
        raise InvalidArgumentError(
            f"{asked.name} cannot have {shape[0]} × {shape[1]} × {shape[2]} voxels (z, y, x): each "
            f"extent must be 1 to {_MAX_EXTENT}, and the voxels at most {_MAX_VOXELS}.",
            field="volume.levels",
        )
    return shape


def _chosen(
    level: storage_pb2.VolumeLevel, shape: ZYX, chunk: ZYX, unit: ZYX, voxel_bytes: int
) -> tuple[ZYX, ZYX]:
    """Chunk and write unit of the finest level: as asked where asked, else the given ones."""
    if level.HasField("chunk"):
        chunk = shape_of(level.chunk)
        if min(chunk) < 1:
            raise InvalidArgumentError(
                f"The chunk {chunk} (z, y, x) is empty; each extent must be at least 1.",
                field="volume.levels.chunk",
            )
        unit = levels.shard_shape(shape, chunk, voxel_bytes)
    if level.HasField("write_unit"):
        unit = shape_of(level.write_unit)
    whole = min(unit) >= 1 and all(u % c == 0 for u, c in zip(unit, chunk, strict=True))
    if not whole or prod(unit) * voxel_bytes > _MAX_UNIT_BYTES:
        raise InvalidArgumentError(
            f"The write unit {unit} (z, y, x) must be a whole number of chunks {chunk} and hold at "
            f"most {_MAX_UNIT_BYTES >> 20} MiB.",
            field="volume.levels.write_unit",
        )
    return chunk, unit
