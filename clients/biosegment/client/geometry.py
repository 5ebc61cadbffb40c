"""Boxes of voxels as plain values, with the arithmetic that everybody needs."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from biosegment.client.errors import InvalidArgumentError, OutsideVolumeError
from biosegment.v1 import types_pb2 as pb

ZYX = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Box:
    """Half-open box of voxels, [start, stop) on each axis, axis order ZYX.

    Attributes:
        start: First voxel inside, (z, y, x).
        stop: First voxel after, (z, y, x).
        level: Scale level whose voxels are counted; 0 is full resolution.
    """

    start: ZYX
    stop: ZYX
    level: int = 0

    @classmethod
    def of_shape(cls, shape: ZYX, level: int = 0) -> "Box":
        """The box of a whole array."""
        return cls((0, 0, 0), shape, level)

    @classmethod
    def at(cls, start: ZYX, shape: ZYX, level: int = 0) -> "Box":
        """The box of an extent at a place."""
        stop = (start[0] + shape[0], start[1] + shape[1], start[2] + shape[2])
        return cls(start, stop, level)

    @classmethod
    def from_proto(cls, box: pb.Box) -> "Box":
        """The box of a message.

        Raises:
            InvalidArgumentError: It is empty, inside out, or begins below zero.
        """
        made = cls(
            (box.z_start, box.y_start, box.x_start), (box.z_stop, box.y_stop, box.x_stop), box.level
        )
        if any(n <= 0 for n in made.shape) or any(s < 0 for s in made.start):
            raise InvalidArgumentError(
                f"The box {made} holds no voxels: each stop must be greater than its start, and no "
                "start below 0.",
                box=made,
            )
        return made

    def to_proto(self) -> pb.Box:
        """The message of this box."""
        return pb.Box(
            z_start=self.start[0],
            y_start=self.start[1],
            x_start=self.start[2],
            z_stop=self.stop[0],
            y_stop=self.stop[1],
            x_stop=self.stop[2],
            level=self.level,
        )

    @property
    def shape(self) -> ZYX:
        """Extent in voxels, (z, y, x)."""
        z, y, x = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    @property
    def voxels(self) -> int:
        """How many voxels it holds."""
        return prod(self.shape)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index into an array with axes ZYX."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    def within(self, shape: ZYX, what: str) -> "Box":
        """Returns the box itself if it lies in an array of the given shape.

        Raises:
            OutsideVolumeError: It does not.
        """
        if any(b > n for b, n in zip(self.stop, shape, strict=True)) or min(self.start) < 0:
            raise OutsideVolumeError(
                f"The box {self} leaves {what}, which has {shape[0]} × {shape[1]} × {shape[2]} "
                "voxels (z, y, x).",
                box=self,
                shape=shape,
            )
        return self

    def intersection(self, other: "Box") -> "Box | None":
        """The voxels in both, None if there are none."""
        a0, a1, a2 = (max(a, b) for a, b in zip(self.start, other.start, strict=True))
        b0, b1, b2 = (min(a, b) for a, b in zip(self.stop, other.stop, strict=True))
        if b0 <= a0 or b1 <= a1 or b2 <= a2:
            return None
        return Box((a0, a1, a2), (b0, b1, b2), self.level)

    def relative_to(self, origin: ZYX) -> "Box":
        """The same box counted from another origin."""
        return Box.at(
            (self.start[0] - origin[0], self.start[1] - origin[1], self.start[2] - origin[2]),
            self.shape,
            self.level,
        )

    def __str__(self) -> str:
        z, y, x = (f"{a}:{b}" for a, b in zip(self.start, self.stop, strict=True))
        return f"[{z}, {y}, {x}]" + (f"@{self.level}" if self.level else "")


@dataclass(frozen=True, slots=True)
class BlockGrid:
    """A box cut into blocks counted in C order; blocks at the far faces may be smaller."""

    box: Box
    block: ZYX

    @property
    def counts(self) -> ZYX:
        """Blocks along each axis."""
        z, y, x = (-(-n // b) for n, b in zip(self.box.shape, self.block, strict=True))
        return z, y, x

    def __len__(self) -> int:
        return prod(self.counts)

    def __getitem__(self, index: int) -> Box:
        """The box of a block.

        Raises:
            IndexError: There is no such block.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        _, ny, nx = self.counts
        place = (index // (ny * nx), index // nx % ny, index % nx)
        z, y, x = (s + p * b for s, p, b in zip(self.box.start, place, self.block, strict=True))
        stop0, stop1, stop2 = (
            min(a + b, e) for a, b, e in zip((z, y, x), self.block, self.box.stop, strict=True)
        )
        return Box((z, y, x), (stop0, stop1, stop2), self.box.level)

    def __iter__(self) -> Iterator[Box]:
        return (self[index] for index in range(len(self)))


def shape_of(shape: pb.Shape) -> ZYX:
    """A Shape message as a tuple (z, y, x)."""
    return shape.z, shape.y, shape.x


def shape_proto(shape: ZYX) -> pb.Shape:
    """A tuple (z, y, x) as a Shape message."""
    return pb.Shape(z=shape[0], y=shape[1], x=shape[2])
