import numpy as np
import pytest
import tifffile

from biosegment.client.errors import InvalidArgumentError
from tests.ingest.reading_kit import look, read


@pytest.fixture
def stack():
    return np.random.default_rng(0).integers(0, 200, (7, 45, 53)).astype("u1")


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
        (
            np.zeros((5, 2, 40, 50), "u1"),
            {"imagej": True, "metadata": {"axes": "ZCYX"}},
            "2 channels: 2 stacks of 5",
        ),
        (
            np.zeros((5, 2, 40, 50), "u1"),
            {"ome": True, "metadata": {"axes": "ZCYX"}},
            "2 channels: 2 stacks of 5",
        ),
        (np.zeros((5, 40, 50), "c8"), {}, "complex64"),
        (np.zeros((5, 40, 50, 2), "u1"), {"planarconfig": "contig"}, "2 channels in each page"),
        (np.zeros((40, 50, 4), "u1"), {"photometric": "separated"}, "CMYK"),
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
