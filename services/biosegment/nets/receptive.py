"""How far a network looks along one axis, by interval arithmetic. Free of torch."""

from collections.abc import Sequence
from math import prod


def unet_reach(
    pools: Sequence[int], radii: Sequence[int], *, convolutions: int = 2
) -> tuple[int, int]:
    """How far below and above itself an output voxel of a U-Net depends on its input.

    Follows one output voxel back to the input: a SAME convolution widens an interval by its
    radius on both sides, a transposed convolution of stride p divides it by p, a max-pool over p
    multiplies it. The worst of all positions of the voxel on the pooling grid is returned.

    Args:
        pools: What each level pools by along this axis, the finest level first.
        radii: Of the convolutions of each level along this axis, the bottleneck's last.
        convolutions: Convolutions per block.

    Returns:
        Voxels (before, after).
    """
    before = after = 0
    for voxel in range(prod(pools)):
        low = high = voxel
        skips = []
        for pool, radius in zip(pools, radii[:-1], strict=True):
            low, high = low - convolutions * radius, high + convolutions * radius
            skips.append((low, high))
            low, high = low // pool, high // pool
        low, high = low - convolutions * radii[-1], high + convolutions * radii[-1]
        for pool, radius, skip in reversed(list(zip(pools, radii[:-1], skips, strict=True))):
            low, high = min(pool * low, skip[0]), max(pool * high + pool - 1, skip[1])
            low, high = low - convolutions * radius, high + convolutions * radius
        before, after = max(before, voxel - low), max(after, high - voxel)
    return before, after


def unet_halo(pools: Sequence[int], radii: Sequence[int]) -> int:
    """The halo that a tile of a U-Net needs: its reach, rounded up to the pooling stride."""
    stride = prod(pools)
    return -(-max(unet_reach(pools, radii)) // stride) * stride
