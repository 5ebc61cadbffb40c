"""How far a network looks along one axis, by interval arithmetic. Free of torch."""

from collections.abc import Sequence
from math import prod


def unet_reach(
    pools: Sequence[int], radii: Sequence[int], *, convolutions: int = 2
) -> tuple[int, int]:
    """How far below and above a cell of its pooling grid a U-Net looks to predict the cell.

    Follows output voxels back to the input: a SAME convolution widens an interval by its
    radius on both sides, a transposed convolution of stride p divides it by p, a max-pool over p
    multiplies it. Of all voxels of the cell the first looks farthest down, the last farthest up.

    Args:
        pools: What each level pools by along this axis, the finest level first.
        radii: Of the convolutions of each level along this axis, the bottleneck's last.
        convolutions: Convolutions per block.

    Returns:
        Voxels (before the first of the cell, after the last).
    """
    cell = prod(pools)
    low, high = 0, cell - 1
    skips = []
    for pool, radius in zip(pools, radii[:-1], strict=True):
        low, high = low - convolutions * radius, high + convolutions * radius
        skips.append((low, high))
        low, high = low // pool, high // pool
    low, high = low - convolutions * radii[-1], high + convolutions * radii[-1]
    for pool, radius, skip in reversed(list(zip(pools, radii[:-1], skips, strict=True))):
        low, high = min(pool * low, skip[0]), max(pool * high + pool - 1, skip[1])
        low, high = low - convolutions * radius, high + convolutions * radius
    return -low, high - (cell - 1)


def unet_halo(pools: Sequence[int], radii: Sequence[int]) -> int:
    """The halo that a tile of a U-Net needs: its reach, rounded up to the pooling stride."""
    stride = prod(pools)
    return -(-max(unet_reach(pools, radii)) // stride) * stride


def unet_windows(
    pools: Sequence[int],
    radii: Sequence[int],
    core: tuple[int, int],
    extent: int,
    *,
    convolutions: int = 2,
) -> list[tuple[int, int]]:
    """What each level of a U-Net has to get right on its way up, for a part of what it is shown.

    The rest can be left out: a part with what its convolutions look at around it gives the same.

    Args:
        pools: As of ``unet_reach``.
        radii: As of ``unet_reach``.
        core: First voxel wanted, and first after those.
        extent: Voxels shown.
        convolutions: Convolutions per block.

    Returns:
        (first, first after the last) of each level's own cells, the finest level first, which is
        the core, and the bottleneck last.
    """
    windows = [core]
    for pool, radius in zip(pools, radii[:-1], strict=True):
        low, high = windows[-1]
        low = max(0, low - convolutions * radius)
        high = min(extent, high + convolutions * radius)
        windows.append((low // pool, -(-high // pool)))
        extent //= pool
    return windows
