import itertools
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biosegment.storage import levels


def test_anisotropic_voxels_become_isotropic_first():
    found = list(levels.downsampling_factors((1000, 8000, 8000), (50.0, 4.6, 4.6)))
    assert found[0] == (1, 1, 1)
    assert found[1] == (1, 2, 2)
    assert found[2] == (1, 4, 4)
    # 4.6 * 8 = 36.8 nm: within a factor of two of the sections.
    assert found[3] == (1, 8, 8)
    assert found[4] == (2, 16, 16)
    assert max(levels.level_shape((1000, 8000, 8000), found[-1])) <= 512


def test_isotropic_voxels_halve_on_every_axis():
    assert list(levels.downsampling_factors((1024, 1024, 1024), (5, 5, 5))) == [
        (1, 1, 1),
        (2, 2, 2),
    ]


def test_small_volume_has_one_level():
    assert list(levels.downsampling_factors((5, 100, 512), (30, 4, 4))) == [(1, 1, 1)]


def test_thin_axis_is_left_alone():
    found = list(levels.downsampling_factors((1, 20_000, 20_000), (50, 4, 4)))
    assert found[-1] == (1, 64, 64)


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(*[st.integers(1, 200_000)] * 3),
    st.tuples(*[st.floats(0.1, 1000.0)] * 3),
    st.sampled_from([1, 2, 4, 8]),
)
def test_every_volume_gets_a_sensible_layout(shape, size, voxel_bytes):
    factors = list(levels.downsampling_factors(shape, size))
    assert len(factors) < 30
    assert max(levels.level_shape(shape, factors[-1])) <= 512
    for fine, coarse in itertools.pairwise(factors):
        assert all(c in (f, 2 * f) for f, c in zip(fine, coarse, strict=True))
        assert coarse != fine
    chunk = levels.chunk_shape(shape, size)
    shard = levels.shard_shape(shape, chunk, voxel_bytes)
    assert all(1 <= c <= n for c, n in zip(chunk, shape, strict=True))
    assert all(s % c == 0 and s < 2 * n for s, c, n in zip(shard, chunk, shape, strict=True))
    assert prod(shard) * voxel_bytes <= max(32 << 20, prod(chunk) * voxel_bytes)


@pytest.mark.parametrize(("shape", "least"), [((64, 512, 512), 8), ((165, 768, 1024), 32)])
def test_small_volumes_still_give_several_workers_something(shape, least):
    chunk = levels.chunk_shape(shape, (5, 5, 5))
    shard = levels.shard_shape(shape, chunk, 1)
    assert prod(-(-n // s) for n, s in zip(shape, shard, strict=True)) >= least
