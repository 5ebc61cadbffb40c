"""Boxes, block grids and names."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biosegment.client.errors import InvalidArgumentError, OutsideVolumeError
from biosegment.client.geometry import BlockGrid, Box, shape_of, shape_proto
from biosegment.v1 import types_pb2

triples = st.tuples(*[st.integers(0, 6)] * 3)
extents = st.tuples(*[st.integers(1, 7)] * 3)
boxes = st.builds(Box.at, triples, extents)


@given(boxes, extents)
def test_the_blocks_of_a_grid_cover_each_voxel_once(box: Box, block: tuple[int, int, int]) -> None:
    grid = BlockGrid(box, block)
    seen = np.zeros(box.stop, int)
    for part in grid:
        assert all(n <= b for n, b in zip(part.shape, block, strict=True))
        seen[part.slices] += 1
    assert seen.sum() == box.voxels
    assert (seen[box.slices] == 1).all()
    assert len(list(grid)) == len(grid)


def test_a_grid_ends() -> None:
    grid = BlockGrid(Box.of_shape((2, 2, 2)), (1, 1, 1))
    assert grid[7] == Box.at((1, 1, 1), (1, 1, 1))
    for index in (-1, 8):
        with pytest.raises(IndexError):
            grid[index]


@given(boxes, boxes)
def test_the_intersection_holds_the_voxels_of_both(a: Box, b: Box) -> None:
    shape = tuple(max(p, q) for p, q in zip(a.stop, b.stop, strict=True))
    marks = np.zeros(shape, int)
    marks[a.slices] += 1
    marks[b.slices] += 1
    common = a.intersection(b)
    assert (0 if common is None else common.voxels) == (marks == 2).sum()
    assert common == b.intersection(a)


@given(boxes, st.integers(0, 5))
def test_a_box_survives_the_wire(box: Box, level: int) -> None:
    leveled = Box(box.start, box.stop, level)
    wire = types_pb2.Box.FromString(leveled.to_proto().SerializeToString())
    assert Box.from_proto(wire) == leveled
    assert shape_of(shape_proto(box.shape)) == box.shape


@pytest.mark.parametrize(
    "box",
    [
        types_pb2.Box(),
        types_pb2.Box(z_stop=1, y_stop=1, x_start=2, x_stop=1),
        types_pb2.Box(z_start=-1, z_stop=1, y_stop=1, x_stop=1),
    ],
)
def test_a_box_without_voxels_is_refused(box: types_pb2.Box) -> None:
    with pytest.raises(InvalidArgumentError, match="holds no voxels"):
        Box.from_proto(box)


def test_a_box_that_leaves_says_what_it_leaves() -> None:
    box = Box((0, 0, 5), (1, 2, 9))
    assert box.within((1, 2, 9), "v") is box
    with pytest.raises(OutsideVolumeError, match=r"\[0:1, 0:2, 5:9\] leaves projects/p/volumes/v"):
        box.within((1, 2, 8), "projects/p/volumes/v")
