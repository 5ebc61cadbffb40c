"""Volumes for the acquisition tests, made as a segmentation makes them."""

import asyncio

import numpy as np
from numpy.typing import NDArray

from biosegment.client.connection import Connection
from biosegment.client.geometry import Box, shape_proto
from biosegment.client.stubs import AsyncStubs, SyncStubs
from biosegment.runtime.arrays import VolumeArray, build_pyramid
from biosegment.v1 import storage_pb2, types_pb2


async def store_volume(
    stubs: AsyncStubs, connection: Connection, name: str, array: NDArray[np.float32]
) -> None:
    """Makes a finished multiscale volume of an array, axes ZYX."""
    z, y, x = array.shape
    volume = storage_pb2.Volume(
        name=name,
        kind=storage_pb2.VOLUME_KIND_IMAGE,
        data_type=types_pb2.DATA_TYPE_FLOAT32,
        voxel_size=types_pb2.VoxelSize(z=40, y=8, x=8),
        levels=[storage_pb2.VolumeLevel(shape=shape_proto((z, y, x)))],
    )
    await stubs.storage.CreateVolume(storage_pb2.CreateVolumeRequest(volume=volume))

    def fill() -> None:
        with SyncStubs(connection) as blocking:
            opened = VolumeArray.open(blocking, name)
            opened.write(Box.of_shape((z, y, x)), array)
            build_pyramid(opened)

    await asyncio.to_thread(fill)
    await stubs.storage.FinishVolume(storage_pb2.FinishVolumeRequest(name=name))
