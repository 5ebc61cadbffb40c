"""What tags say of a sample's meaning: white and black, palettes, orientation, bits, types."""

import numpy as np
import pytest
import tifffile

from biosegment.client.errors import InvalidArgumentError
from tests.ingest.reading_kit import look, read, write_packed


@pytest.fixture
def stack():
    return np.random.default_rng(0).integers(0, 200, (5, 21, 13)).astype("u1")


class TestWhiteIsZero:
    @pytest.mark.parametrize(
        ("dtype", "most"), [("u1", 255), ("u2", 65535), (">u2", 65535), ("i1", -1), ("i2", -1)]
    )
    @pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"contiguous": False}])
    def test_images_are_inverted_and_that_is_told(self, tmp_path, stack, dtype, most, options):
        path = tmp_path / "w.tif"
        data = stack.astype(dtype)
        stored = (most - data.astype("i4")).astype(data.dtype)
        options = {**options, "byteorder": dtype[0] if dtype[0] == ">" else "<"}
        tifffile.imwrite(path, stored, photometric="miniswhite", **options)
        np.testing.assert_array_equal(read(path), data)
        assert any("white-is-zero" in said for said in look(path).warnings)

    @pytest.mark.parametrize("dtype", ["u1", "u2", "?"])
    def test_labels_keep_their_numbers(self, tmp_path, stack, dtype):
        path = tmp_path / "w.tif"
        data = (stack % 2).astype(dtype)
        tifffile.imwrite(path, data, photometric="miniswhite")
        np.testing.assert_array_equal(read(path, labels=True), data)
        assert look(path, labels=True).warnings == ()

    @pytest.mark.parametrize("bits", [1, 4, 12])
    def test_of_packed_bits(self, tmp_path, bits):
        path = tmp_path / "w.tif"
        data = np.random.default_rng(1).integers(0, 1 << bits, (3, 5, 13))
        write_packed(path, (1 << bits) - 1 - data, bits, photometric=0)
        np.testing.assert_array_equal(read(path), data)

    def test_of_fractions_makes_no_sense(self, tmp_path, stack):
        path = tmp_path / "w.tif"
        tifffile.imwrite(path, stack.astype("f4"), photometric="miniswhite")
        with pytest.raises(InvalidArgumentError, match="of which none is white"):
            look(path)

    def test_a_file_that_does_not_say_is_black_is_zero(self, tmp_path, stack):
        path = tmp_path / "w.tif"
        tifffile.imwrite(path, stack[0], metadata=None)
        content = path.read_bytes()
        tag = content.index(b"\x06\x01\x03\x00\x01\x00\x00\x00\x01\x00")
        # An unknown private tag takes the place of PhotometricInterpretation.
        path.write_bytes(content[:tag] + b"\x07\x01" + content[tag + 2 :])
        np.testing.assert_array_equal(read(path)[0], stack[0])


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 10, 12, 14])
@pytest.mark.parametrize("width", [13, 16])
def test_packed_bits(tmp_path, bits, width):
    path = tmp_path / "p.tif"
    data = np.random.default_rng(bits).integers(0, 1 << bits, (3, 5, width))
    write_packed(path, data, bits)
    found = look(path)
    assert found.dtype == np.dtype("u1" if bits <= 8 else "u2")
    np.testing.assert_array_equal(read(path), data)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(InvalidArgumentError, match="cut off"):
        look(path)


class TestPalettes:
    def write(self, path, indices, table, **options):
        table = np.asarray(table, "u2")
        tifffile.imwrite(path, indices, photometric="palette", colormap=table, **options)

    @pytest.mark.parametrize("step", [257, 256])
    def test_greys_are_looked_up(self, tmp_path, stack, step):
        path = tmp_path / "p.tif"
        ramp = (255 - np.arange(256)) * step
        self.write(path, stack, [ramp] * 3)
        np.testing.assert_array_equal(read(path), 255 - stack)
        assert look(path).dtype == np.dtype("u1")
        assert any("palette of greys" in said for said in look(path).warnings)

    def test_of_one_page_that_stands_for_all(self, tmp_path, stack):
        path = tmp_path / "p.tif"
        self.write(path, stack, [(255 - np.arange(256)) * 257] * 3, truncate=True)
        np.testing.assert_array_equal(read(path), 255 - stack)

    def test_greys_finer_than_8_bit(self, tmp_path, stack):
        path = tmp_path / "p.tif"
        ramp = np.arange(256) * 100 + 7
        self.write(path, stack, [ramp] * 3)
        np.testing.assert_array_equal(read(path), ramp[stack])

    def test_colours_are_refused_but_for_labels(self, tmp_path, stack):
        path = tmp_path / "p.tif"
        self.write(path, stack, np.random.default_rng(0).integers(0, 65535, (3, 256)))
        with pytest.raises(InvalidArgumentError, match="palette of colours"):
            look(path)
        np.testing.assert_array_equal(read(path, labels=True), stack)

    def test_those_of_imagej_only_say_how_to_show(self, tmp_path, stack):
        path = tmp_path / "p.tif"
        table = np.random.default_rng(0).integers(0, 65535, (3, 256))
        self.write(path, stack, table, imagej=True, metadata={"axes": "ZYX"})
        np.testing.assert_array_equal(read(path), stack)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, lambda seen: seen),
        (2, lambda seen: seen[:, ::-1]),
        (3, lambda seen: seen[::-1, ::-1]),
        (4, lambda seen: seen[::-1]),
        (5, lambda seen: seen.T),
        (6, lambda seen: np.rot90(seen, 1)),
        (7, lambda seen: seen[::-1, ::-1].T),
        (8, lambda seen: np.rot90(seen, -1)),
    ],
)
@pytest.mark.parametrize("labels", [False, True])
def test_orientation(tmp_path, stack, orientation, stored, labels):
    path = tmp_path / "o.tif"
    pages = np.stack([stored(section) for section in stack])
    tifffile.imwrite(
        path,
        pages,
        extratags=[(274, "H", 1, orientation, False)],
        resolution=(2e6, 1e6) if orientation < 5 else (1e6, 2e6),
        resolutionunit=3,
        metadata=None,
    )
    found = look(path, labels=labels)
    np.testing.assert_array_equal(read(path, labels=labels), stack)
    assert found.voxel_size == (None, 10.0, 5.0)
    assert bool(found.warnings) == (orientation != 1)


class TestColour:
    @pytest.mark.parametrize("dtype", ["u1", "u2"])
    def test_of_grey_is_grey(self, tmp_path, stack, dtype):
        path = tmp_path / "c.tif"
        data = stack.astype(dtype)
        tifffile.imwrite(path, np.stack([data] * 3, -1), photometric="rgb")
        np.testing.assert_array_equal(read(path), data)
        assert any("colour" in said for said in look(path).warnings)

    def test_of_colours_is_refused(self, tmp_path, stack):
        path = tmp_path / "c.tif"
        colour = np.stack([stack] * 3, -1)
        colour[3].flat[7] += 1
        tifffile.imwrite(path, colour, photometric="rgb")
        with pytest.raises(InvalidArgumentError, match=r"Page 4 .* is coloured"):
            read(path)

    @pytest.mark.filterwarnings("ignore:.*stored as RGB:DeprecationWarning")
    @pytest.mark.parametrize("depth", [3, 4])
    @pytest.mark.parametrize("same", [True, False])
    @pytest.mark.parametrize("options", [{}, {"metadata": None}, {"compression": "zlib"}])
    def test_that_tifffile_makes_of_thin_stacks_is_asked_about(
        self, tmp_path, stack, depth, same, options
    ):
        path = tmp_path / "thin.tif"
        data = np.stack([stack[0]] * depth) if same else stack[:depth]
        tifffile.imwrite(path, data, **options)
        for labels in (False, True):
            with pytest.raises(InvalidArgumentError, match=f"{depth} planes.*--axes ZYX"):
                look(path, labels=labels)
            found = look(path, labels=labels, axes="ZYX")
            assert found.shape == data.shape
            np.testing.assert_array_equal(np.stack(list(found.pages())), data)

    @pytest.mark.parametrize("colours", [1, 3])
    def test_opaque_pages_are_taken_and_others_not(self, tmp_path, stack, colours):
        path = tmp_path / "c.tif"
        pages = np.stack([*[stack] * colours, np.full_like(stack, 255)], -1)
        options = {
            "photometric": "rgb" if colours == 3 else "minisblack",
            "planarconfig": "contig",
            "extrasamples": ["unassalpha"],
        }
        tifffile.imwrite(path, pages, **options)
        np.testing.assert_array_equal(read(path), stack)
        pages[2, 3, 4, -1] = 9
        tifffile.imwrite(path, pages, **options)
        with pytest.raises(InvalidArgumentError, match=r"Page 3 .* transparent"):
            read(path)


class TestTypes:
    @pytest.mark.parametrize("dtype", ["i1", "i2", ">i2", "f4", ">f4"])
    def test_are_kept(self, tmp_path, stack, dtype):
        path = tmp_path / "t.tif"
        data = (stack.astype("i4") - 100).astype(dtype)
        tifffile.imwrite(path, data, byteorder=dtype[0] if dtype[0] == ">" else "<")
        assert look(path).dtype == np.dtype(dtype).newbyteorder("=")
        np.testing.assert_array_equal(read(path), data)
        assert look(path).warnings == ()

    @pytest.mark.parametrize("dtype", ["f2", "f8", "i4", "u4", "i8", "u8"])
    def test_become_float32_where_it_holds_them(self, tmp_path, stack, dtype):
        path = tmp_path / "t.tif"
        data = stack.astype(dtype)
        tifffile.imwrite(path, data)
        assert look(path).dtype == np.dtype("f4")
        np.testing.assert_array_equal(read(path), data)
        assert any("float32" in said for said in look(path).warnings)
        # Instance ids and the like stay what they are.
        assert look(path, labels=True).dtype == np.dtype(dtype)

    @pytest.mark.parametrize(
        ("value", "dtype", "says"),
        [
            (16_777_217, "u4", "too large to be kept exactly"),
            (-16_777_217, "i4", "too large to be kept exactly"),
            (1e300, "f8", "too large for 32 bit"),
            (np.nan, "f4", "no numbers"),
            (-np.inf, "f4", "infinite"),
        ],
    )
    def test_values_that_do_not_fit_are_refused(self, tmp_path, stack, value, dtype, says):
        path = tmp_path / "t.tif"
        data = stack.astype(dtype)
        data[1, 2, 3] = value
        tifffile.imwrite(path, data)
        with pytest.raises(InvalidArgumentError, match=f"Page 2 .*{says}"):
            read(path)

    @pytest.mark.parametrize("labels", [False, True])
    def test_bool_is_0_and_1(self, tmp_path, stack, labels):
        path = tmp_path / "t.tif"
        data = stack > 100
        tifffile.imwrite(path, data, photometric="minisblack")
        assert look(path, labels=labels).dtype == np.dtype("u1")
        np.testing.assert_array_equal(read(path, labels=labels), data)


def test_sections_within_a_page_are_refused(tmp_path):
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, np.zeros((20, 32, 32), "u1"), volumetric=True, tile=(16, 16, 16))
    with pytest.raises(InvalidArgumentError, match="20 sections in one page"):
        look(path)


def test_a_file_that_changed_since_it_was_looked_at_is_refused(tmp_path, stack):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack)
    found = look(path)
    tifffile.imwrite(path, stack + 1)
    with pytest.raises(InvalidArgumentError, match="changed while it was imported"):
        list(found.pages())
