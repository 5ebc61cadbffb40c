import numpy as np
import pytest
import tifffile

from biosegment.client.errors import InvalidArgumentError, PathNotAllowedError
from biosegment.client.label_values import LabelReader
from biosegment.ingest import class_check
from biosegment.ingest.roots import Roots
from biosegment.ingest.tiff_source import find_files, scan
from biosegment.ingest.voxel_size import decide
from biosegment.v1 import types_pb2


@pytest.fixture
def stack():
    return np.random.default_rng(0).integers(0, 200, (7, 45, 53)).astype("u1")


def look(path):
    return scan(find_files(path, Roots([path.parent], "ROOTS").existing))


def read(path):
    found = look(path)
    return np.stack(list(found.pages()))


@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "lzw", "tile": (16, 16)},
        {"bigtiff": True},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"ome": True, "metadata": {"axes": "ZYX"}},
        {"contiguous": False, "metadata": None},
        {"rowsperstrip": 7},
    ],
)
def test_one_file_of_many_pages(tmp_path, stack, dtype, options):
    path = tmp_path / "stack.tif"
    data = stack.astype(dtype) * (1 if dtype == "u1" else 250)
    if dtype == ">u2":
        options = {**options, "byteorder": ">"}
    tifffile.imwrite(path, data, photometric="minisblack", **options)
    found = look(path)
    assert found.shape == (7, 45, 53)
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(np.stack(list(found.pages())), data)


def test_many_channels_are_sections(tmp_path, stack):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.concatenate([stack, stack]), imagej=True)
    assert look(path).shape == (14, 45, 53)
    tifffile.imwrite(path, stack, imagej=True)
    with pytest.raises(InvalidArgumentError, match="7 channel"):
        look(path)


def test_single_page(tmp_path, stack):
    tifffile.imwrite(tmp_path / "a.tif", stack[0])
    assert look(tmp_path / "a.tif").shape == (1, 45, 53)


def test_folder_is_sorted_as_people_count(tmp_path, stack):
    folder = tmp_path / "pages"
    folder.mkdir()
    for n, page in enumerate(stack):
        tifffile.imwrite(folder / f"s{n * 4}.TIF", page)
    (folder / "notes.txt").write_text("not a page")
    (folder / "._s1.tif").write_bytes(b"left by a Mac")
    np.testing.assert_array_equal(read(folder), stack)


def test_folder_with_an_odd_page_is_refused(tmp_path, stack):
    folder = tmp_path / "pages"
    folder.mkdir()
    tifffile.imwrite(folder / "1.tif", stack[0])
    tifffile.imwrite(folder / "2.tif", stack[0, :40])
    with pytest.raises(InvalidArgumentError, match=r"2\.tif is 40 × 53 of uint8, but 1\.tif"):
        look(folder)
    tifffile.imwrite(folder / "2.tif", stack[0].astype("u2"))
    with pytest.raises(InvalidArgumentError, match="uint16"):
        look(folder)
    tifffile.imwrite(folder / "2.tif", stack[:2])
    with pytest.raises(InvalidArgumentError, match="holds 2 pages"):
        look(folder)


def test_empty_folder_is_refused(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(InvalidArgumentError, match="holds no"):
        look(tmp_path / "none")


@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib"}, {"imagej": True, "metadata": {"axes": "ZYX"}}]
)
@pytest.mark.parametrize("left", [0, 4, 100, 0.3, 0.7, -400])
def test_truncated_file_is_refused(tmp_path, stack, options, left):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", **options)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * left) if 0 < left < 1 else left])
    with pytest.raises(InvalidArgumentError, match=r"cut off|cannot be read|holds no image"):
        read(path)


def test_damaged_page_is_named(tmp_path, stack):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, stack, compression="zlib", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[3].dataoffsets[0], tiff.pages[3].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = b"\xff" * count
    path.write_bytes(content)
    with pytest.raises(InvalidArgumentError, match=r"Page 4 of .* cannot be decoded"):
        read(path)


def test_not_a_tiff(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"\x89PNG and so on" * 100)
    with pytest.raises(InvalidArgumentError, match="cannot be read as a TIFF"):
        look(path)


@pytest.mark.parametrize(
    ("data", "options", "says"),
    [
        (np.zeros((5, 40, 50, 3), "u1"), {"photometric": "rgb"}, "single-channel"),
        (np.zeros((40, 50, 3), "u1"), {"photometric": "rgb"}, "single-channel"),
        (
            np.zeros((5, 2, 40, 50), "u1"),
            {"imagej": True, "metadata": {"axes": "ZCYX"}},
            "single-channel",
        ),
        (
            np.zeros((5, 2, 40, 50), "u1"),
            {"ome": True, "metadata": {"axes": "ZCYX"}},
            "2 channel",
        ),
        (np.zeros((5, 40, 50), "f4"), {}, "float32"),
        (np.zeros((5, 40, 50), "i2"), {}, "int16"),
        (np.zeros((5, 40, 50), "u4"), {}, "uint32"),
        (np.zeros((5, 40, 48), "?"), {}, "bool"),
    ],
)
def test_what_is_no_grey_stack_is_refused(tmp_path, data, options, says):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, data, **options)
    with pytest.raises(InvalidArgumentError, match=says):
        look(path)


def test_pages_of_several_sizes_are_refused(tmp_path, stack):
    path = tmp_path / "stack.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(stack[0])
        tiff.write(stack[0, :30])
    with pytest.raises(InvalidArgumentError, match="differ in size"):
        look(path)


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
    assert decide(given, (None, None, None), "a.tif") == given
    assert decide(None, (30.0, 4.0, 4.0), "a.tif") == given
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidArgumentError, match="greater than 0"):
            decide(types_pb2.VoxelSize(z=bad, y=4, x=4), (1.0, 1.0, 1.0), "a.tif")


def test_strange_class_is_named_with_its_page():
    pages = [np.zeros((4, 4), "u1"), np.array([[0, 1], [7, 1]], "u1")]
    with pytest.raises(InvalidArgumentError, match="page 2, holds the number 7"):
        class_check.check_all(pages, LabelReader([0, 1]), voxels=100)
    class_check.check_all(pages, LabelReader([0, 1, 7]), voxels=100)
    class_check.check_all(pages, LabelReader([0, 1]), voxels=16)


class TestRoots:
    @pytest.fixture
    def roots(self, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "a.tif").touch()
        (tmp_path / "secret.tif").touch()
        (tmp_path / "in-other").mkdir()
        (tmp_path / "in-other" / "b.tif").touch()
        return Roots([tmp_path / "in"], "BIOSEGMENT_IMPORT_ROOTS")

    def test_inside(self, roots, tmp_path):
        assert roots.existing(f"{tmp_path}/in/a.tif").name == "a.tif"
        assert roots.existing(f"{tmp_path}/in/../in/a.tif").name == "a.tif"

    @pytest.mark.parametrize(
        "path", ["in/../secret.tif", "secret.tif", "in-other/b.tif", "in/../in-other/b.tif", "none"]
    )
    def test_outside(self, roots, tmp_path, path):
        with pytest.raises(PathNotAllowedError, match="BIOSEGMENT_IMPORT_ROOTS"):
            roots.existing(f"{tmp_path}/{path}")

    def test_links_are_followed(self, roots, tmp_path):
        (tmp_path / "in" / "link.tif").symlink_to(tmp_path / "secret.tif")
        (tmp_path / "in" / "folder").symlink_to(tmp_path / "in-other")
        for path in ("in/link.tif", "in/folder/b.tif", "in/folder"):
            with pytest.raises(PathNotAllowedError):
                roots.existing(f"{tmp_path}/{path}")
        with pytest.raises(PathNotAllowedError):
            find_files(tmp_path / "in", roots.existing)
        with pytest.raises(PathNotAllowedError):
            roots.new(f"{tmp_path}/in/folder/out.tif")

    @pytest.mark.parametrize("path", ["in/a.tif", "", "a\0b", "~/a.tif"])
    def test_only_absolute_paths(self, roots, path):
        with pytest.raises(InvalidArgumentError, match="absolute"):
            roots.existing(path)

    def test_no_roots_allow_nothing(self, tmp_path):
        with pytest.raises(PathNotAllowedError, match="none is set"):
            Roots([], "X").existing(str(tmp_path))

    def test_missing_source(self, roots, tmp_path):
        with pytest.raises(InvalidArgumentError, match="no file or folder"):
            roots.existing(f"{tmp_path}/in/none.tif")
