"""Randomness as a function of place: the same voxel reads the same whatever box it is asked in.

Everything here takes integer lattice or voxel coordinates and hashes them with
SplitMix64 (Steele, Lea and Flood 2014), so no state runs along the volume.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]
NM = tuple[float, float, float]

_GAMMA = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def mix(value: U64) -> U64:
    """The finaliser of SplitMix64, elementwise."""
    value = value + np.uint64(_GAMMA)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def uniform(
    seed: int, salt: int, z: NDArray[np.int64], y: NDArray[np.int64], x: NDArray[np.int64]
) -> F64:
    """Uniform numbers in [0, 1) at the nodes of a lattice, axes ZYX.

    Args:
        seed: Seed of the phantom.
        salt: Tells one use from another.
        z: Node indices along z; may be negative.
        y: Node indices along y.
        x: Node indices along x.
    """
    key = np.array([(seed * 0x100000001B3 + salt) & _MASK], np.uint64)
    with np.errstate(over="ignore"):
        plane = mix(mix(key) + z.astype(np.uint64))[:, None, None]
        row = mix(plane + y.astype(np.uint64)[None, :, None])
        node = mix(row + x.astype(np.uint64)[None, None, :])
    return (node >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniform_at(seed: int, salt: int, nodes: NDArray[np.int64]) -> F64:
    """Uniform numbers in [0, 1) at scattered nodes, the same as ``uniform`` gives there.

    Args:
        seed: Seed of the phantom.
        salt: Tells one use from another.
        nodes: Node indices, (3, n), rows z, y, x.
    """
    key = np.array([(seed * 0x100000001B3 + salt) & _MASK], np.uint64)
    with np.errstate(over="ignore"):
        node = mix(key)
        for row in nodes:
            node = mix(node + row.astype(np.uint64))
    return (node >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclass(frozen=True, slots=True)
class Place:
    """A box of voxels in physical coordinates.

    Attributes:
        start: First voxel, (z, y, x); may lie outside the volume.
        shape: Extent in voxels.
        voxel_size: Nanometres, (z, y, x).
    """

    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    voxel_size: NM

    def axis(self, n: int) -> F64:
        """Voxel centres along axis n in nanometres."""
        centres: F64 = (self.indices(n).astype(np.float64) + 0.5) * self.voxel_size[n]
        return centres

    def indices(self, n: int) -> NDArray[np.int64]:
        """Voxel indices along axis n."""
        return np.arange(self.start[n], self.start[n] + self.shape[n])


def value_noise(seed: int, salt: int, place: Place, scale: NM | float) -> F32:
    """Smooth noise in [-1, 1]: random lattice nodes, smoothstep between them.

    Args:
        seed: Seed of the phantom.
        salt: Tells one field from another.
        place: Where.
        scale: Distance of the nodes in nanometres, one or (z, y, x).
    """
    scales = (scale, scale, scale) if isinstance(scale, float | int) else scale
    lows, weights, nodes = [], [], []
    for n in range(3):
        position = place.axis(n) / scales[n]
        floor = np.floor(position).astype(np.int64)
        fraction = position - floor
        lows.append(floor - floor[0])
        weights.append((fraction * fraction * (3 - 2 * fraction)).astype(np.float32))
        nodes.append(np.arange(floor[0], floor[-1] + 2))
    field: F32 = (uniform(seed, salt, *nodes) * 2 - 1).astype(np.float32)
    for n in range(3):
        # Written out, since a matrix product rounds differently for different extents.
        low, weight = lows[n], weights[n]
        shape = [1, 1, 1]
        shape[n] = -1
        a, b = np.take(field, low, axis=n), np.take(field, low + 1, axis=n)
        field = a + (b - a) * weight.reshape(shape)
    return field


def voxel_noise(seed: int, salt: int, place: Place) -> F32:
    """Roughly normal noise of unit variance, independent in every voxel.

    The sum of four uniform numbers (Irwin-Hall), which is as good as normal for grain.
    """
    numbers = uniform(seed, salt, *(place.indices(n) for n in range(3)))
    bits = (numbers * 2.0**53).astype(np.uint64)
    total = np.zeros(place.shape, np.float32)
    for shift in range(0, 48, 12):
        total += ((bits >> np.uint64(shift)) & np.uint64(0xFFF)).astype(np.float32)
    # Four uniform numbers of [0, 4096): mean 8190, variance 4 * 4096**2 / 12.
    return (total - np.float32(8190.0)) * np.float32(1 / 2364.83)
