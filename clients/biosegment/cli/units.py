"""Extents, voxel sizes and amounts as people read them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from biosegment.v1.types_pb2 import Shape, VoxelSize

_THOUSAND = 1000


def extent(shape: "Shape") -> str:
    """An extent along z, y and x: 20 × 1024 × 1024."""
    return f"{shape.z} × {shape.y} × {shape.x}"


def voxels(size: "VoxelSize") -> str:
    """A voxel size along z, y and x: 50 × 4.6 × 4.6 nm."""
    return f"{size.z:g} × {size.y:g} × {size.x:g} nm"


def size(count: int) -> str:
    """An amount of bytes in the largest decimal unit that leaves one or more: 20.97 MB."""
    amount, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if amount < _THOUSAND:
            break
        amount, unit = amount / _THOUSAND, larger
    return f"{amount:.4g} {unit}"


def data_type(value: int) -> str:
    """The type of voxels, as numpy calls it."""
    from biosegment.v1.types_pb2 import DataType

    return DataType.Name(DataType.ValueType(value)).removeprefix("DATA_TYPE_").lower()


def voxel_bytes(value: int) -> int:
    """Bytes of one voxel of a type."""
    digits = "".join(letter for letter in data_type(value) if letter.isdigit())
    return int(digits or 8) // 8
