import numpy as np
import pytest
import tifffile

from biosegment.client.errors import InvalidArgumentError
from biosegment.ingest.voxel_size import decide
from biosegment.v1 import types_pb2
from tests.ingest.reading_kit import look


@pytest.fixture
def stack():
    return np.random.default_rng(0).integers(0, 200, (7, 45, 53)).astype("u1")


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (
            {
                "imagej": True,
                "resolution": (1000 / 4.6, 1000 / 4.6),
                "metadata": {"axes": "ZYX", "spacing": 0.05, "unit": "um"},
            },
            (50.0, 4.6, 4.6),
        ),
        (
            {
                "imagej": True,
                "resolution": (1 / 8, 1 / 4),
                "metadata": {"axes": "ZYX", "spacing": 30, "unit": "nm"},
            },
            (30.0, 4.0, 8.0),
        ),
        (
            {"imagej": True, "resolution": (2, 2), "metadata": {"axes": "ZYX", "unit": "um"}},
            (None, 500, 500),
        ),
        ({"imagej": True, "metadata": {"axes": "ZYX"}}, (None, None, None)),
        (
            {
                "ome": True,
                "metadata": {
                    "axes": "ZYX",
                    "PhysicalSizeX": 0.005,
                    "PhysicalSizeY": 6,
                    "PhysicalSizeYUnit": "nm",
                    "PhysicalSizeZ": 0.04,
                },
            },
            (40.0, 6.0, 5.0),
        ),
        ({"resolution": (72, 72), "resolutionunit": 2}, (None, None, None)),
        ({"resolution": (2e6, 2e6), "resolutionunit": 3}, (None, 5.0, 5.0)),
        ({}, (None, None, None)),
    ],
)
def test_voxel_size_is_taken_from_the_file(tmp_path, stack, options, found):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", **options)
    assert look(path).voxel_size == found


def test_voxel_size_is_asked_for_where_the_file_is_silent():
    with pytest.raises(InvalidArgumentError, match="along z; give the voxel size"):
        decide(None, (None, 4.0, 4.0), "a.tif")
    given = types_pb2.VoxelSize(z=30, y=4, x=4)
    assert decide(given, (None, None, None), "a.tif") == (given, [])
    assert decide(None, (30.0, 4.0, 4.0), "a.tif") == (given, [])
    for bad in (0.0, -1.0, float("nan"), float("inf"), 1e-300, 1e30, 0.09):
        with pytest.raises(InvalidArgumentError, match=r"between 0\.1 nm and"):
            decide(types_pb2.VoxelSize(z=bad, y=4, x=4), (1.0, 1.0, 1.0), "a.tif")
