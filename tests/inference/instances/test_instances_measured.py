"""Measurements from blocks: what is counted is exact, areas keep the tolerance that is stated."""

from math import pi

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import marching_cubes, mesh_surface_area, regionprops

from biosegment.inference.instances.child.surface import DIRECTIONS, areas_per_crossing, crossings
from biosegment.inference.instances.child.table import (
    columns,
    note_of,
    table,
    to_csv,
    to_parquet,
)
from tests.inference.instances.blocked import recipe, run
from tests.inference.instances.test_instances_equal import noise


def measured(values, how):
    final, merged, sums = run(values, how)
    found = columns(sums, merged.classes, {1: "mito"}, how.voxel_size, values.shape)
    return final, found


def ball(radius, voxel_size, centre=(0.3, 0.2, 0.1)):
    half = [int(np.ceil(radius / size)) + 2 for size in voxel_size]
    axes = [
        (np.arange(-n, n + 1) - c) * s for n, c, s in zip(half, centre, voxel_size, strict=True)
    ]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return (z**2 + y**2 + x**2 <= radius**2).astype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "block"),
    [((7, 31, 29), (3, 8, 11)), ((1, 37, 41), (1, 16, 16)), ((5, 6, 7), (9, 9, 9))],
)
def test_counts_boxes_and_centroids_are_those_of_the_whole(shape, block):
    values = noise(shape, 2, classes=2, share=0.3)
    voxel_size = (30.0, 8.0, 4.0)
    final, found = measured(values, recipe(values, block, voxel_size=voxel_size, fill_holes=True))
    expected = regionprops(final)
    assert [p.label for p in expected] == found["id"].tolist()
    assert [p.area for p in expected] == found["voxels"].tolist()
    for n, axis in enumerate("zyx"):
        assert [p.bbox[n] for p in expected] == found[f"{axis}_start"].tolist()
        assert [p.bbox[3 + n] for p in expected] == found[f"{axis}_stop"].tolist()
        centroids = np.array([p.centroid[n] for p in expected])
        assert np.allclose(found[f"centroid_{axis}"], centroids, rtol=1e-12)
        assert np.allclose(found[f"centroid_{axis}_um"], centroids * voxel_size[n] / 1000)
    assert np.allclose(found["volume_um3"], found["voxels"] * 30 * 8 * 4 / 1e9)
    if min(shape) > 2:
        rim = final.copy()
        rim[1:-1, 1:-1, 1:-1] = 0
        touching = set(np.unique(rim)) - {0}
        assert set(found["id"][found["touches_border"]].tolist()) == touching


def test_crossings_of_blocks_add_up_to_those_of_the_whole():
    values = noise((9, 23, 25), 4, share=0.4)
    final, _, sums = run(values, recipe(values, (2, 7, 6)))
    whole = crossings(np.pad(final, 1), int(final.max()) + 1)
    assert np.array_equal(sums.crossings, whole[1:])


@pytest.mark.parametrize(
    ("voxel_size", "radius"), [((1, 1, 1), 8), ((1, 1, 1), 25), ((3, 1, 1), 20), ((11, 1, 1), 60)]
)
def test_the_area_of_a_ball_is_right_within_two_percent(voxel_size, radius):
    values = ball(radius, voxel_size)
    size = tuple(float(v) for v in voxel_size)
    _, found = measured(values, recipe(values, (5, 16, 13), voxel_size=size))
    area = 4 * pi * radius**2 * 1e-6
    assert found["surface_um2"][0] == pytest.approx(area, rel=0.02)
    assert found["sphericity"][0] == pytest.approx(1, rel=0.05)


def test_the_area_of_smooth_bodies_is_that_of_their_isosurface_within_three_percent():
    field = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal((64, 64, 64)), 5)
    level = float(np.quantile(field, 0.8))
    field[[0, -1]] = field[:, [0, -1]] = field[:, :, [0, -1]] = field.min()
    values = (field > level).astype(np.uint8)
    _, found = measured(values, recipe(values, (20, 30, 17)))
    vertices, faces, _, _ = marching_cubes(field, level)
    expected = mesh_surface_area(vertices, faces) * 1e-6
    assert len(found["id"]) > 1
    assert found["surface_um2"].sum() == pytest.approx(expected, rel=0.03)


def test_an_area_per_crossing_is_a_mean_over_the_sphere():
    for size in ((1.0, 1.0, 1.0), (50.0, 4.6, 4.6)):
        steps = np.linalg.norm(np.array(DIRECTIONS) * size, axis=1)
        weights = areas_per_crossing(size) * steps / np.prod(size) / 2
        assert weights.sum() == pytest.approx(1)
        assert (weights > 0).all()


def test_the_table_carries_the_data_set_and_says_where_it_is_from():
    values = noise((4, 12, 12), 7, share=0.2)
    _, found = measured(values, recipe(values, (4, 5, 5)))
    made = table(
        found, {"dataset": "liver", "voxel_size_z_nm": 30.0, "organism": "a, b"}, {"job": "j"}
    )
    assert note_of(to_parquet(made)) == {"job": "j"}
    lines = to_csv(made).decode().splitlines()
    assert len(lines) == 1 + len(found["id"])
    assert lines[0].startswith('"id","class","class_name","voxels","volume_um3"')
    assert lines[1].endswith('"liver",30,"a, b"')
    empty = np.zeros((3, 3, 3), np.uint8)
    _, none = measured(empty, recipe(empty, (2, 2, 2)))
    assert table(none, {"dataset": "liver"}, {}).num_rows == 0
