import numpy as np
import pytest
import tifffile

from biosegment.client.errors import InvalidArgumentError
from biosegment.ingest.voxel_size import compare, decide, nanometres
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


def given(z, y, x):
    return types_pb2.VoxelSize(z=z, y=y, x=x)


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ((50.0, 4.6, 4.6), None),
        ((50.0, 4.61, 4.6), None),
        ((4.6, 4.6, 50.0), "looks like x,y,z"),
        ((500.0, 46.0, 46.0), "ångströms"),
        ((50_000.0, 4600.0, 4600.0), "another unit"),
        ((40.0, 4.6, 4.6), "not 40, 4.6, 4.6. The given one was used"),
        ((50.0, 4.6, 9.2), "not 50, 4.6, 9.2"),
    ],
)
def test_a_size_that_differs_from_the_files_is_told(size, says):
    chosen, told = decide(given(*size), (50.0, 4.6, 4.6), "a.tif")
    assert chosen == given(*size)
    assert bool(told) == (says is not None)
    if says is not None:
        assert says in told[0]


@pytest.mark.parametrize(
    ("size", "found", "says"),
    [
        ((0.05, 0.0046, 0.0046), (None,) * 3, "If these are micrometres, it is 50, 4.6, 4.6"),
        ((0.05, 0.0046, 0.0046), (50.0, 4.6, 4.6), "If these are micrometres, it is 50, 4.6, 4.6"),
        ((5e-8, 4.6e-9, 4.6e-9), (50.0, 4.6, 4.6), "The file says 50, 4.6, 4.6"),
        ((50.0, 4.6, 1e8), (None,) * 3, "must lie between"),
    ],
)
def test_a_size_that_no_voxel_has_is_refused(size, found, says):
    with pytest.raises(InvalidArgumentError, match=says):
        decide(given(*size), found, "a.tif")


def test_a_size_that_no_voxel_has_is_not_believed_of_a_file_either():
    with pytest.raises(InvalidArgumentError, match=r"that a\.tif gives must lie between"):
        decide(None, (50.0, 1e-4, 1e-4), "a.tif")
    assert decide(given(50, 4, 4), (50.0, 1e-4, 1e-4), "a.tif")[1]


def test_x_y_z_is_suspected_where_the_file_is_silent():
    assert "z,y,x" in decide(given(4.6, 4.6, 50), (None, None, None), "a.tif")[1][0]
    for plain in ((4.6, 4.6, 4.6), (50, 4.6, 4.6), (30, 4, 8)):
        assert decide(given(*plain), (None, None, None), "a.tif")[1] == []


def test_labels_of_another_size_than_their_data_set_are_told():
    sizes = (50.0, 4.6, 4.6)
    assert compare(sizes, (None, None, None), "m.tif", "d") == []
    assert compare(sizes, (None, 4.6, 4.6), "m.tif", "d") == []
    (said,) = compare(sizes, (50.0, 18.4, 18.4), "m.tif", "d")
    assert "50, 18.4, 18.4 nm" in said
    assert "50, 4.6, 4.6 nm" in said


@pytest.mark.parametrize(
    ("value", "unit", "wanted"),
    [
        (50, "nm", 50),
        ("4600", "pm", 4.6),
        (5e-8, "m", 50),
        (46, "Å", 4.6),
        (46, "\u212b", 4.6),
        (46, "Angstrom", 4.6),
        (0.05, "µm", 50),
        (0.05, "\u03bcm", 50),
        (0.05, "\\u00B5m", 50),
        (0.05, "microns", 50),
        (5e-5, "mm", 50),
        (5e-6, "cm", 50),
        (5e-5, "Mm", None),
        (5, "pixel", None),
        (5, "", None),
        (0, "nm", None),
        (-5, "nm", None),
        ("nan", "nm", None),
        ("inf", "nm", None),
        (None, "nm", None),
        ("5 apples", "nm", None),
    ],
)
def test_units(value, unit, wanted):
    assert nanometres(value, unit) == wanted


OME = (
    '<?xml version="1.0" encoding="UTF-8"?><!-- PhysicalSizeX="9" --><OME '
    'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Description>'
    'PhysicalSizeX="9" PhysicalSizeXUnit="m"</Description><Pixels SizeX="53" SizeY="45" SizeZ="7" '
    'SizeC="1" SizeT="1" DimensionOrder="XYZCT" {sizes}/></Image></OME>'
)


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [
        (("0.005", "&#181;m"), 5.0),
        (("0.005", "&#xB5;m"), 5.0),
        (("0.005", None), 5.0),
        (("5000", "pm"), 5.0),
        (("5e-9", "m"), 5.0),
        (("50", "Å"), 5.0),
        (("50", "&#197;"), 5.0),
        (("5", "reference frame"), None),
    ],
)
def test_ome_xml_is_read_as_xml(tmp_path, stack, sizes, wanted):
    path = tmp_path / "stack.tif"
    size, unit = sizes
    text = " ".join(
        f"PhysicalSize{axis}='{size}'" + (f" PhysicalSize{axis}Unit='{unit}'" if unit else "")
        for axis in "XYZ"
    )
    tifffile.imwrite(path, stack, metadata=None, description=OME.format(sizes=text).encode())
    assert look(path).voxel_size == (wanted, wanted, wanted)


def test_each_ome_image_has_its_own_size(tmp_path, stack):
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for size in (4.0, 8.0):
            sizes = {f"PhysicalSize{axis}": size for axis in "XYZ"}
            units = {f"PhysicalSize{axis}Unit": "nm" for axis in "XYZ"}
            tiff.write(stack, photometric="minisblack", metadata={"axes": "ZYX", **sizes, **units})
    assert look(path, image=1).voxel_size == (4, 4, 4)
    assert look(path, image=2).voxel_size == (8, 8, 8)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("unit=nm\nspacing=50\nyunit=um\nzunit=um", (50_000.0, 2000.0, 4.0)),
        ("unit=\\u00B5m\nspacing=-0.05", (50.0, 2000.0, 4000.0)),
        ("unit=pm\nspacing=50000", (50.0, 0.002, 0.004)),
        ("unit=pixel\nspacing=1", (None, None, None)),
    ],
)
def test_units_of_imagej(tmp_path, stack, text, found):
    path = tmp_path / "stack.tif"
    header = f"ImageJ=1.54f\nimages=7\nslices=7\n{text}\n"
    tifffile.imwrite(
        path, stack, metadata=None, description=header, resolution=(0.25, 0.5), resolutionunit=1
    )
    assert look(path).voxel_size == found
