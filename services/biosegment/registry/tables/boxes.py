"""Columns of a box of voxels, shared by the tables that have one."""

from typing import TypedDict

from sqlalchemy.orm import Mapped

from biosegment.client.geometry import Box


class BoxColumns:
    """Half-open box of level-0 voxels, axis order ZYX."""

    z_start: Mapped[int]
    y_start: Mapped[int]
    x_start: Mapped[int]
    z_stop: Mapped[int]
    y_stop: Mapped[int]
    x_stop: Mapped[int]

    @property
    def box(self) -> Box:
        """The box as a value."""
        return Box(
            (self.z_start, self.y_start, self.x_start), (self.z_stop, self.y_stop, self.x_stop)
        )


class BoxValues(TypedDict):
    """A box as keyword arguments of a row."""

    z_start: int
    y_start: int
    x_start: int
    z_stop: int
    y_stop: int
    x_stop: int


def box_values(box: Box) -> BoxValues:
    """The columns of a box."""
    return BoxValues(
        z_start=box.start[0],
        y_start=box.start[1],
        x_start=box.start[2],
        z_stop=box.stop[0],
        y_stop=box.stop[1],
        x_stop=box.stop[2],
    )
