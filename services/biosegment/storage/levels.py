"""How many scale levels a volume gets, and how each is cut into chunks and shards."""

from collections.abc import Iterator
from math import prod

from biosegment.client.geometry import ZYX

_COARSEST_EXTENT = 512
# An axis this short is left alone: halving a thin stack saves nothing and loses sections.
_THIN = 64
_CUBE = (64, 64, 64)
_SHEET = (16, 256, 256)
# From here on a cube of voxels is so far from a cube of tissue that people look at it in sections.
_SHEET_ANISOTROPY = 4.0
_SHARD_BYTES = (2 << 20, 32 << 20)
_SHARDS_WANTED = 64


def downsampling_factors(shape: ZYX, voxel_size: tuple[float, float, float]) -> Iterator[ZYX]:
    """Yields the factors of each level against full resolution, beginning with (1, 1, 1).

    Each level halves the axes whose voxels are less than twice as long as the shortest, so that
    voxels become isotropic first and stay so; until no extent exceeds 512.

    Args:
        shape: Full-resolution extent in voxels, (z, y, x).
        voxel_size: Full-resolution voxel size in nanometres, (z, y, x).
    """
    factors = [1, 1, 1]
    extent, size = list(shape), list(voxel_size)
    yield 1, 1, 1
    while max(extent) > _COARSEST_EXTENT:
        long_axes = [axis for axis in range(3) if extent[axis] > _THIN]
        shortest = min(size[axis] for axis in long_axes)
        chosen = [axis for axis in long_axes if size[axis] < 2 * shortest]
        for axis in chosen:
            factors[axis] *= 2
            size[axis] *= 2
            extent[axis] = -(-extent[axis] // 2)
        yield factors[0], factors[1], factors[2]


def level_shape(shape: ZYX, factors: ZYX) -> ZYX:
    """Extent of a level in voxels, (z, y, x)."""
    z, y, x = (-(-n // f) for n, f in zip(shape, factors, strict=True))
    return z, y, x


def chunk_shape(shape: ZYX, voxel_size: tuple[float, float, float]) -> ZYX:
    """Extent of a chunk: cubes, or flatter sheets where the stack is thin or its sections thick.

    Args:
        shape: Extent of the level in voxels, (z, y, x).
        voxel_size: Its voxel size in nanometres, (z, y, x).
    """
    flat = voxel_size[0] / min(voxel_size[1:]) >= _SHEET_ANISOTROPY or shape[0] < _CUBE[0] // 2
    z, y, x = (min(c, n) for c, n in zip(_SHEET if flat else _CUBE, shape, strict=True))
    return z, y, x


def shard_shape(shape: ZYX, chunk: ZYX, voxel_bytes: int) -> ZYX:
    """Extent of a shard: whole chunks, 2 to 32 MiB before compression.

    A large volume gets large shards, so that it is few objects; a small one gets small shards, so
    that several workers still find work in it.

    Args:
        shape: Extent of the level in voxels, (z, y, x).
        chunk: Extent of a chunk.
        voxel_bytes: Bytes per voxel.
    """
    least, most = _SHARD_BYTES
    limit = min(max(prod(shape) * voxel_bytes // _SHARDS_WANTED, least), most)
    shard = list(chunk)
    while True:
        growing = [axis for axis in range(3) if shard[axis] < shape[axis]]
        if not growing or 2 * prod(shard) * voxel_bytes > limit:
            return shard[0], shard[1], shard[2]
        shard[min(growing, key=lambda axis: shard[axis])] *= 2
