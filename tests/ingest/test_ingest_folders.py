"""Folders of files: their numbering, strays, substacks."""

import numpy as np
import pytest
import tifffile

from biosegment.client.errors import InvalidArgumentError
from biosegment.ingest.readers.numbering import order
from biosegment.v1 import jobs_pb2
from tests.ingest.reading_kit import look, read

CLOSE, FILL = jobs_pb2.GAP_POLICY_CLOSE, jobs_pb2.GAP_POLICY_FILL


@pytest.fixture
def stack():
    return np.random.default_rng(0).integers(1, 200, (12, 21, 13)).astype("u1")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "pages"
    path.mkdir()
    return path


def write(folder, stack, names, **options):
    for name, section in zip(names, stack, strict=True):
        tifffile.imwrite(folder / name, section, photometric="minisblack", **options)


def numbered(numbers, before="slice_", digits=3):
    return [f"{before}{n:0{digits}}.tif" for n in numbers]


PRESENT = [n for n in range(12) if n not in (5, 6)]


class TestGaps:
    def test_are_named(self, folder, stack):
        write(folder, stack[PRESENT], numbered(PRESENT))
        with pytest.raises(
            InvalidArgumentError, match=r"slice_005 and slice_006 are missing .*--gaps close.*fill"
        ):
            look(folder)

    def test_can_be_closed(self, folder, stack):
        write(folder, stack[PRESENT], numbered(PRESENT))
        np.testing.assert_array_equal(read(folder, gaps=CLOSE), stack[PRESENT])
        assert any("follow each other" in said for said in look(folder, gaps=CLOSE).warnings)

    @pytest.mark.parametrize("labels", [False, True])
    def test_can_be_filled(self, folder, stack, labels):
        write(folder, stack[PRESENT], numbered(PRESENT))
        wanted = stack.copy()
        wanted[5:7] = 255 if labels else 0
        np.testing.assert_array_equal(read(folder, gaps=FILL, labels=labels), wanted)
        said = look(folder, gaps=FILL, labels=labels).warnings
        assert any("2 not labelled" in text if labels else "2 black" in text for text in said)

    @pytest.mark.parametrize(
        ("numbers", "says"),
        [
            ([1, 2, 4], "slice_003 is missing"),
            ([1, 2, 4, 6], "slice_003 and slice_005 are missing"),
            ([0, 2, 4, 8], "slice_006 is missing"),
            ([8, 9, 10, 12], "slice_011 is missing"),
            ([0, 1, 100], "slice_002, .*slice_007 and 92 more are missing"),
        ],
    )
    def test_of_every_kind(self, folder, stack, numbers, says):
        write(folder, stack[: len(numbers)], numbered(numbers))
        with pytest.raises(InvalidArgumentError, match=says):
            look(folder)

    @pytest.mark.parametrize("names", [["s1.tif", "s01.tif", "s2.tif"], ["s1.tif", "s1.tiff"]])
    def test_two_files_of_one_number(self, folder, stack, names):
        write(folder, stack[: len(names)], names)
        with pytest.raises(InvalidArgumentError, match="have the same number"):
            look(folder)
        assert look(folder, gaps=CLOSE).shape[0] == len(names)

    def test_steps_are_told(self, folder, stack):
        write(folder, stack[:4], numbered([0, 5, 10, 15]))
        assert any("steps of 5" in said for said in look(folder).warnings)
        np.testing.assert_array_equal(read(folder), stack[:4])

    def test_numbers_that_count_something_else_too(self, folder, stack):
        names = [f"em_{n:02}_2024{n * n + 100}.tif" for n in range(12)]
        write(folder, stack, names)
        np.testing.assert_array_equal(read(folder), stack)
        (folder / names[4]).unlink()
        with pytest.raises(InvalidArgumentError, match=r"em_04_.* is missing"):
            look(folder)


class TestStrays:
    def test_thumbnails(self, folder, stack):
        write(folder, stack, numbered(range(12)))
        tifffile.imwrite(folder / "thumbnail.tif", stack[0, :5, :5])
        with pytest.raises(
            InvalidArgumentError, match=r'not thumbnail\.tif.*--files "slice_\*\.tif"'
        ):
            look(folder)
        np.testing.assert_array_equal(read(folder, files="slice_*.tif"), stack)

    def test_other_prefixes(self, folder, stack):
        write(folder, stack[:7], numbered(range(7), "raw_"))
        write(folder, stack[7:], numbered(range(5), "mask_"))
        with pytest.raises(InvalidArgumentError, match=r"7 are named like raw_000.*mask_000\.tif"):
            look(folder)
        np.testing.assert_array_equal(read(folder, files="mask_*"), stack[7:])

    def test_channels(self, folder, stack):
        names = [f"em_c{n % 2}_z{n // 2:03}.tif" for n in range(12)]
        write(folder, stack, names)
        with pytest.raises(InvalidArgumentError, match=r"several ways at once.*--files"):
            look(folder)
        np.testing.assert_array_equal(read(folder, files="em_c1_*"), stack[1::2])

    def test_a_pattern_that_fits_nothing(self, folder, stack):
        write(folder, stack, numbered(range(12)))
        with pytest.raises(InvalidArgumentError, match=r'No file .* matches --files "x\*"'):
            look(folder, files="x*")

    def test_names_without_numbers_are_told(self, folder, stack):
        write(folder, stack[:3], ["b.tif", "a.tif", "c.tif"])
        assert any("not numbered" in said for said in look(folder).warnings)
        np.testing.assert_array_equal(read(folder), stack[[1, 0, 2]])

    def test_what_is_no_image_does_not_count(self, folder, stack):
        write(folder, stack, numbered(range(12)))
        for name in ("notes.txt", ".DS_Store", "._slice_001.tif", "Thumbs.db", "slice_003.xml"):
            (folder / name).write_bytes(b"x")
        np.testing.assert_array_equal(read(folder), stack)
        assert look(folder).warnings == ()


class TestSubstacks:
    def test_follow_each_other(self, folder, stack):
        write(folder, [stack[:5], stack[5:10], stack[10:]], numbered([0, 1, 2], "part"))
        assert look(folder).shape == stack.shape
        np.testing.assert_array_equal(read(folder), stack)

    def test_named_by_their_sections(self, folder, stack):
        names = ["em_000-004.tif", "em_005-009.tif", "em_010-011.tif"]
        write(folder, [stack[:5], stack[5:10], stack[10:]], names)
        np.testing.assert_array_equal(read(folder), stack)
        assert look(folder).warnings == ()
        (folder / names[1]).unlink()
        write(folder, [stack[:5]], ["em_015-019.tif"])
        with pytest.raises(InvalidArgumentError, match=r"em_005-.* is missing"):
            look(folder)

    def test_that_are_missing_cannot_be_filled(self, folder, stack):
        write(folder, [stack[:5], stack[5:10], stack[10:]], numbered([0, 1, 3], "part"))
        with pytest.raises(InvalidArgumentError, match="part002 is missing"):
            look(folder)
        with pytest.raises(InvalidArgumentError, match="nobody knows how many sections"):
            look(folder, gaps=FILL)
        np.testing.assert_array_equal(read(folder, gaps=CLOSE), stack)

    def test_each_is_asked_about_like_a_file(self, folder, stack):
        write(folder, [stack[:5], stack[5:10]], numbered([0, 1], "part"), imagej=True)
        with pytest.raises(InvalidArgumentError, match=r"part000.*5 channels"):
            look(folder)
        np.testing.assert_array_equal(read(folder, axes="ZYX"), stack[:10])


def test_files_that_say_different_voxel_sizes_are_told(folder, stack):
    write(folder, stack[:1], ["s1.tif"], resolution=(2e6, 2e6), resolutionunit=3)
    write(folder, stack[1:2], ["s2.tif"], resolution=(1e6, 1e6), resolutionunit=3)
    assert any("size of their voxels" in said for said in look(folder).warnings)
    assert look(folder).voxel_size == (None, 5.0, 5.0)


def test_the_same_warning_of_many_files_is_given_once(folder, stack):
    for n, section in enumerate(stack):
        tifffile.imwrite(folder / f"s{n}.tif", 255 - section, photometric="miniswhite")
    assert len(look(folder).warnings) == 1
    np.testing.assert_array_equal(read(folder), stack)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["s10.tif", "s9.tif", "s8.tif"], ["s8.tif", "s9.tif", "s10.tif"]),
        (["S2.TIF", "s1.tif"], ["s1.tif", "S2.TIF"]),
        (["one.tif"], ["one.tif"]),
        (["9.tif"], ["9.tif"]),
        (["a1b02.tif", "a1b01.tif"], ["a1b01.tif", "a1b02.tif"]),
    ],
)
def test_order(names, wanted):
    found = order(names)
    assert list(found.names) == wanted
    assert found.count == 0
    assert not found.strays
