import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.client.geometry import BlockGrid, Box, shape_of, shape_proto
from biosegment.inference import segmentation
from biosegment.inference.subjects import Subject
from biosegment.nets import catalog
from biosegment.nets.footprint import unet_footprint
from biosegment.v1 import jobs_pb2, registry_pb2, storage_pb2


@pytest.mark.parametrize(
    ("shape", "chunk", "unit"),
    [
        ((500, 20000, 30000), (16, 256, 256), (16, 768, 768)),
        ((20, 1000, 1024), (16, 256, 256), (16, 1024, 1024)),
        ((40, 512, 512), (16, 256, 256), (16, 512, 512)),
        ((3, 197, 1201), (3, 197, 256), (3, 197, 768)),
        ((1, 1, 1), (1, 1, 1), (1, 1, 1)),
    ],
)
def test_write_units_are_whole_chunks(shape, chunk, unit):
    assert segmentation.chunk_and_unit(shape) == (chunk, unit)
    assert all(u % c == 0 for u, c in zip(unit, chunk, strict=True))


SECTIONS = unet_footprint(4, planar_levels=5)
WHOLE = unet_footprint(4, planar_levels=5, local=False)
VOLUMES = unet_footprint(3, planar_levels=1)
PIXELS = 1 << 20
extents = st.tuples(st.integers(1, 60), st.integers(1, 3000), st.integers(1, 3000))


def _block(spec, shape, footprint, forward_pixels=PIXELS):
    return segmentation._block(spec, shape, footprint, forward_pixels)


@pytest.mark.parametrize("footprint", [SECTIONS, VOLUMES, WHOLE])
@given(shape=extents, data=st.data())
def test_no_two_blocks_share_a_write_unit_and_all_of_the_box_is_covered(footprint, shape, data):
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True))
    spec = jobs_pb2.SegmentSpec(box=Box(start, stop).to_proto())
    if data.draw(st.booleans()):
        spec.block.CopyFrom(shape_proto(data.draw(extents)))
    try:
        spec.block.CopyFrom(shape_proto(_block(spec, shape, footprint)))
    except InvalidArgumentError:
        return
    unit = segmentation.chunk_and_unit(shape)[1]
    plan = segmentation.blocks(spec)
    grid = BlockGrid(Box.from_proto(plan.box), shape_of(plan.block))
    covered = 0
    for box in grid:
        assert all(a % u == 0 for a, u in zip(box.start, unit, strict=True))
        inside = box.intersection(Box(start, stop))
        assert inside is not None
        covered += inside.voxels
    assert covered == Box(start, stop).voxels
    assert all(b % u == 0 for b, u in zip(shape_of(plan.block), unit, strict=True))


def test_an_absurd_block_is_refused():
    for block in ((0, 1, 1), (4096, 8192, 8192)):
        spec = jobs_pb2.SegmentSpec(block=shape_proto(block))
        with pytest.raises(InvalidArgumentError, match="block"):
            _block(spec, (10_000, 20_000, 20_000), SECTIONS)


def test_blocks_of_networks_that_see_volumes_are_thicker():
    shape = (500, 3000, 3000)
    spec = jobs_pb2.SegmentSpec()
    assert _block(spec, shape, SECTIONS) == (16, 768, 768)
    assert _block(spec, shape, VOLUMES) == (64, 768, 768)


def test_blocks_of_sections_grow_with_what_a_forward_may_show():
    spec, shape = jobs_pb2.SegmentSpec(), (500, 5000, 4000)
    for pixels, block in (
        (1 << 12, (16, 768, 768)),
        (1 << 20, (16, 768, 768)),
        (1728**2, (16, 1536, 1536)),  # of that, 96 pixels at either side are halo
        (1727**2, (16, 768, 768)),
        (1 << 28, (16, 3072, 3072)),
    ):
        assert _block(spec, shape, SECTIONS, pixels) == block


def test_blocks_of_whole_sections_are_not_cut():
    spec, shape = jobs_pb2.SegmentSpec(block=shape_proto((16, 256, 256))), (100, 3000, 2000)
    assert _block(spec, shape, WHOLE) == (16, 3072, 2304)


def subject(shape, architecture="unet2d-group"):
    network = catalog.find(architecture)
    raw = storage_pb2.Volume(levels=[storage_pb2.VolumeLevel(shape=shape_proto(shape))])
    model = registry_pb2.Model(architecture=architecture)
    dataset = registry_pb2.Dataset(name="projects/p/datasets/d")
    return Subject("v", model, network, network.defaults, dataset, raw)


def test_sections_that_are_too_large_for_a_network_that_sees_all_of_each_are_refused():
    # 64 maps take 2.75 KiB a pixel.
    subject((5, 1000, 1000)).check_sections(3 << 30)
    with pytest.raises(FailedPreconditionError, match="5000 × 1000 pixels of projects/p"):
        subject((5, 5000, 1000)).check_sections(3 << 30)
    subject((5, 5000, 1000), "unet2d").check_sections(1)


def test_the_weights_of_the_published_network_are_about_31_million():
    parameters = catalog.resolve("unet2d", {})
    assert catalog.find("unet2d").weight_bytes(parameters) == 4 * 31_000_000


@pytest.mark.parametrize("service", ["inference", "training"])
def test_the_service_itself_never_imports_torch(service):
    code = (
        f"import sys, biosegment.{service}.wiring;"
        "print([m for m in ('torch', 'pytorch_lightning', 'safetensors') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout.strip() == "[]"
