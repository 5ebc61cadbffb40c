"""Blocks that are larger than was asked for are told of."""

import pytest

from biosegment.client.geometry import shape_proto
from biosegment.inference import segmentation
from biosegment.inference.instances import plan as instances
from biosegment.inference.whole_units import whole_units
from biosegment.nets.footprint import unet_footprint
from biosegment.v1 import jobs_pb2, types_pb2

SHAPE = (20, 512, 512)
SECTIONS = unet_footprint(4, planar_levels=5)


def told(block):
    spec = jobs_pb2.SegmentSpec(block=shape_proto(block))
    return whole_units(spec, segmentation._block(spec, SHAPE, SECTIONS, 1 << 20), SHAPE)


def test_a_block_that_is_rounded_up_is_told_with_both_extents():
    (sentence,) = told((4, 64, 64))
    assert "4 × 64 × 64 voxels (z, y, x) were asked for" in sentence
    assert "are 16 × 512 × 512" in sentence


@pytest.mark.parametrize("block", [(16, 512, 512), (99, 512, 512), (32, 9999, 9999)])
def test_one_that_is_taken_as_it_is_is_not(block):
    assert told(block) == ()


def test_nor_is_one_that_was_not_asked_for():
    assert whole_units(jobs_pb2.SegmentSpec(), (16, 512, 512), SHAPE) == ()


def test_instances_round_up_too():
    spec = jobs_pb2.InstancesSpec(block=shape_proto((4, 64, 64)))
    unit = instances.chunk_and_unit(SHAPE, types_pb2.VoxelSize(z=50, y=4, x=4))[1]
    (sentence,) = whole_units(spec, instances._block(spec, SHAPE, unit), SHAPE)
    assert "4 × 64 × 64" in sentence


def test_one_section_more_than_asked_for_is_told():
    spec = jobs_pb2.SegmentSpec(block=shape_proto((15, 512, 512)))
    assert whole_units(spec, (16, 512, 512), SHAPE)
