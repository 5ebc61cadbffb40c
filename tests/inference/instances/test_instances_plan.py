import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import BlockGrid, Box, shape_of, shape_proto
from biosegment.inference.instances import plan
from biosegment.inference.instances.child.overlap import extended, owners
from biosegment.inference.instances.recipe import places_of, recipe_of
from biosegment.inference.settings import InferenceSettings
from biosegment.v1 import jobs_pb2, storage_pb2, types_pb2

VOXEL = types_pb2.VoxelSize(z=30, y=4, x=4)
JOB = "projects/p/jobs/instances-1"


def source(shape, voxel_size=VOXEL):
    return storage_pb2.Volume(
        name="projects/p/volumes/s",
        voxel_size=voxel_size,
        levels=[storage_pb2.VolumeLevel(shape=shape_proto(shape))],
    )


extents = st.tuples(st.integers(1, 2000), st.integers(1, 30000), st.integers(1, 30000))


@given(extents, st.sampled_from([VOXEL, types_pb2.VoxelSize(z=8, y=8, x=8)]), st.data())
def test_blocks_are_whole_write_units_and_bounded(shape, voxel_size, data):
    chunk, unit = plan.chunk_and_unit(shape, voxel_size)
    assert all(u % c == 0 for u, c in zip(unit, chunk, strict=True))
    assert unit[0] * unit[1] * unit[2] * 4 <= 16 << 20
    spec = jobs_pb2.InstancesSpec(split_nm=data.draw(st.sampled_from([0, 50])))
    if data.draw(st.booleans()):
        spec.block.CopyFrom(shape_proto(data.draw(extents)))
    try:
        block = plan._block(spec, shape, unit)
    except InvalidArgumentError:
        return
    assert all(b % u == 0 for b, u in zip(block, unit, strict=True))
    assert block[0] * block[1] * block[2] <= 1 << 27


@given(st.tuples(*[st.integers(1, 20)] * 3), st.tuples(*[st.integers(1, 9)] * 3), st.data())
def test_the_owners_of_a_box_share_it_out(shape, block, data):
    grid = BlockGrid(Box.of_shape(shape), block)
    index = data.draw(st.integers(0, len(grid) - 1))
    around = extended(grid[index], shape)
    parts = list(owners(grid, around))
    assert sum(part.voxels for _, part in parts) == around.voxels
    assert len({owner for owner, _ in parts}) == len(parts) <= 8
    for owner, part in parts:
        assert grid[owner].intersection(part) == part


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"connectivity": 8}, "none of 6, 18 and 26"),
        ({"connectivity": 6, "classes": [0]}, "no class"),
        ({"connectivity": 6, "classes": [255]}, "no class"),
        ({"connectivity": 6, "classes": [300]}, "no class"),
        ({"connectivity": 6, "min_voxels": -1}, "0 or more"),
        ({"connectivity": 6, "min_volume_um3": float("nan")}, "0 or more"),
        ({"connectivity": 6, "split_nm": 5000.0}, "voxels wide"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(fields, word):
    with pytest.raises(InvalidArgumentError, match=word):
        plan._check_numbers(jobs_pb2.InstancesSpec(**fields), source((9, 9, 9)))


def test_a_limit_in_micrometres_is_the_same_limit_in_voxels():
    voxel = 30 * 4 * 4 * 1e-9
    spec = jobs_pb2.InstancesSpec(block=shape_proto((9, 9, 9)), min_volume_um3=100 * voxel)
    assert recipe_of(spec, source((9, 9, 9))).min_voxels == 100
    spec.min_volume_um3 = 100.5 * voxel
    assert recipe_of(spec, source((9, 9, 9))).min_voxels == 101
    spec.min_voxels = 200
    assert recipe_of(spec, source((9, 9, 9))).min_voxels == 200


def test_intermediate_results_have_names_of_their_own():
    spec = jobs_pb2.InstancesSpec(volume="projects/p/volumes/mito")
    places = places_of(JOB, spec)
    assert places.fragments == "projects/p/volumes/mito-fragments"
    assert places.parts == "projects/p/objects/instances/mito/instances-1"
    assert places.csv == "projects/p/objects/instances/mito/table.csv"
    spec.volume = f"projects/p/volumes/{'m' * 60}"
    with pytest.raises(InvalidArgumentError, match="intermediate"):
        places_of(JOB, spec)


def test_blocks_of_a_large_volume_travel_in_runs():
    for shape, longest in (((16, 256, 256), 1), ((4000, 20000, 20000), 16)):
        volume = source(shape)
        unit = plan.chunk_and_unit(shape, VOXEL)[1]
        spec = jobs_pb2.InstancesSpec()
        spec.block.CopyFrom(shape_proto(plan._block(spec, shape, unit)))
        request = plan.blocks(recipe_of(spec, volume))
        assert request.run_length == longest
        assert shape_of(request.block) == shape_of(spec.block)


def test_a_process_can_take_instances_alone(tmp_path):
    made = InferenceSettings(connection=tmp_path, kinds="instances")
    assert made.kinds == ("instances",)
    with pytest.raises(ValidationError, match="is none of"):
        InferenceSettings(connection=tmp_path, kinds="instances, paint")


def test_the_service_itself_never_loads_the_array_libraries():
    code = (
        "import sys, biosegment.inference.wiring;"
        "print([m for m in ('cc3d', 'edt', 'scipy', 'skimage', 'pyarrow') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout.strip() == "[]"
