"""What headers say of pages is compared with the pages that are there."""

import json

import numpy as np
import pytest
import tifffile

from biosegment.client.errors import InvalidArgumentError
from tests.ingest.reading_kit import look, read

OME = "<OME xmlns='http://www.openmicroscopy.org/Schemas/OME/2016-06'{root}>{images}</OME>"


@pytest.fixture
def stack():
    return np.random.default_rng(0).integers(0, 200, (10, 45, 53)).astype("u1")


def write_ome(path, pages, images, root=""):
    text = OME.format(root=root, images=images)
    tifffile.imwrite(path, pages, photometric="minisblack", metadata=None, description=text)


def ome_image(z=1, c=1, t=1, order="XYZCT", data="", name="a", more=""):
    return (
        f'<Image Name="{name}"><Pixels DimensionOrder="{order}" SizeX="53" SizeY="45" SizeZ="{z}" '
        f'SizeC="{c}" SizeT="{t}" {more}>{data}</Pixels></Image>'
    )


class TestSeveralImages:
    def write(self, path, stack, kind):
        options = {"ome": True} if kind == "ome" else {}
        with tifffile.TiffWriter(path, **options) as tiff:
            for half in (stack[:5], 255 - stack[5:]):
                tiff.write(half, metadata={"axes": "ZYX"}, photometric="minisblack")

    @pytest.mark.parametrize("kind", ["ome", "shaped"])
    def test_are_asked_about(self, tmp_path, stack, kind):
        path = tmp_path / "two.tif"
        self.write(path, stack, kind)
        with pytest.raises(
            InvalidArgumentError, match=r"2 images.*2 stacks of 5 .*--image 1 to --image 2.*--axes"
        ):
            look(path)
        np.testing.assert_array_equal(read(path, image=1), stack[:5])
        np.testing.assert_array_equal(read(path, image=2), 255 - stack[5:])
        assert look(path, axes="ZYX").shape == (10, 45, 53)
        with pytest.raises(InvalidArgumentError, match="no --image 3"):
            look(path, image=3)

    def test_of_several_depths_too(self, tmp_path, stack):
        path = tmp_path / "two.tif"
        with tifffile.TiffWriter(path) as tiff:
            tiff.write(stack[:3], photometric="minisblack")
            tiff.write(stack[3:], photometric="minisblack")
        with pytest.raises(InvalidArgumentError, match="3 or 7 section"):
            look(path)
        np.testing.assert_array_equal(read(path, image=2), stack[3:])

    def test_one_page_each_are_a_stack(self, tmp_path, stack):
        path = tmp_path / "loop.tif"
        with tifffile.TiffWriter(path) as tiff:
            for section in stack:
                tiff.write(section)
        np.testing.assert_array_equal(read(path), stack)

    def test_of_ome_are_asked_about_even_with_one_page_each(self, tmp_path, stack):
        path = tmp_path / "wells.tif"
        write_ome(path, stack[:2], ome_image(name="one") + ome_image(name="two"))
        with pytest.raises(InvalidArgumentError, match='2 images \\("one", "two"\\)'):
            look(path)


@pytest.mark.parametrize(
    ("shape", "options", "says"),
    [
        ((2, 5), {}, "an array of 2 × 5 pages: 2 stacks of 5"),
        ((2, 5), {"imagej": True, "metadata": {"axes": "TZYX"}}, "2 times: 2 stacks of 5"),
        ((5, 2), {"imagej": True, "metadata": {"axes": "ZCYX"}}, "2 channels: 2 stacks of 5"),
        ((5, 2), {"imagej": True, "metadata": {"axes": "TCYX"}}, "2 channels: 2 stacks of 5"),
        ((2, 5), {"ome": True, "metadata": {"axes": "TZYX"}}, "2 times: 2 stacks of 5"),
        ((5, 2), {"metadata": {"axes": "ZTYX"}}, "2 times: 2 stacks of 5"),
    ],
)
def test_stacks_of_more_axes_are_asked_about(tmp_path, stack, shape, options, says):
    path = tmp_path / "many.tif"
    tifffile.imwrite(path, stack.reshape(*shape, 45, 53), photometric="minisblack", **options)
    with pytest.raises(InvalidArgumentError, match=f"{says}.*--image 1 to --image 2"):
        look(path)
    deep = stack.reshape(*shape, 45, 53)
    for n in range(2):
        wanted = deep[n] if shape[0] == 2 else deep[:, n]
        np.testing.assert_array_equal(read(path, image=n + 1), wanted)
    np.testing.assert_array_equal(read(path, axes="ZYX"), stack)


class TestContradictions:
    def test_imagej_header_of_more_pages(self, tmp_path, stack):
        path = tmp_path / "a.tif"
        text = "ImageJ=1.54f\nimages=9\nslices=9\n"
        tifffile.imwrite(path, stack[:6], metadata=None, description=text)
        with pytest.raises(
            InvalidArgumentError, match=r"ImageJ header speaks of 9 pages, but holds 6.*--axes ZYX"
        ):
            look(path)
        np.testing.assert_array_equal(read(path, axes="ZYX"), stack[:6])

    def test_imagej_header_of_fewer_pages(self, tmp_path, stack):
        path = tmp_path / "a.tif"
        text = "ImageJ=1.54f\nimages=4\nslices=4\n"
        tifffile.imwrite(path, stack[:6], metadata=None, description=text)
        with pytest.raises(InvalidArgumentError, match="4 pages, but holds 6"):
            look(path)

    def test_imagej_header_that_disagrees_with_itself(self, tmp_path, stack):
        path = tmp_path / "a.tif"
        text = "ImageJ=1.54f\nimages=6\nslices=5\n"
        tifffile.imwrite(path, stack[:6], metadata=None, description=text)
        with pytest.raises(InvalidArgumentError, match="speaks of 6 pages and of 5"):
            look(path)

    def test_shape_of_more_pages(self, tmp_path, stack):
        path = tmp_path / "a.tif"
        text = json.dumps({"shape": [9, 45, 53]})
        tifffile.imwrite(path, stack[:6], metadata=None, description=text)
        with pytest.raises(InvalidArgumentError, match="9 pages, but holds 6"):
            look(path)

    @pytest.mark.parametrize(
        ("images", "says"),
        [
            (ome_image(z=9), "9 pages, of which 6 are here"),
            (ome_image(z=4), "speaks of 4 pages, but holds 6"),
            (ome_image(z=6, data='<TiffData IFD="2" PlaneCount="6"/>'), "of which 4 are here"),
            (ome_image(z=6, data='<TiffData PlaneCount="7"/>'), "more than the image has"),
            (ome_image(z=6, data='<TiffData FirstZ="6" IFD="0"/>'), "FirstZ is 6 of 6"),
            (ome_image(z="many"), "SizeZ"),
            (ome_image(z=0), "no sense"),
            (ome_image(z=6, order="ZYXCT"), "DimensionOrder"),
            ("<Image/>", "no Pixels"),
            ("<Image>", "well-formed"),
        ],
    )
    def test_ome(self, tmp_path, stack, images, says):
        path = tmp_path / "a.tif"
        write_ome(path, stack[:6], images)
        with pytest.raises(InvalidArgumentError, match=f"{says}.*--axes ZYX"):
            look(path)
        np.testing.assert_array_equal(read(path, axes="ZYX"), stack[:6])

    def test_ome_that_defines_entities_is_not_parsed(self, tmp_path, stack):
        path = tmp_path / "a.tif"
        text = '<!DOCTYPE OME [<!ENTITY a "aaaa">]>' + OME.format(root="", images=ome_image(z=6))
        tifffile.imwrite(path, stack[:6], metadata=None, description=text)
        with pytest.raises(InvalidArgumentError, match="declares entities"):
            look(path)


class TestOmeOrder:
    def test_planes_lie_where_the_header_says(self, tmp_path, stack):
        order = [3, 0, 2, 1]
        data = "".join(f'<TiffData IFD="{page}" FirstZ="{z}"/>' for z, page in enumerate(order))
        path = tmp_path / "a.tif"
        write_ome(path, stack[:4], ome_image(z=4, data=data))
        np.testing.assert_array_equal(read(path), stack[order])

    @pytest.mark.parametrize(("order", "second"), [("XYCZT", [1, 3, 5]), ("XYZCT", [3, 4, 5])])
    def test_dimension_order(self, tmp_path, stack, order, second):
        path = tmp_path / "a.tif"
        write_ome(path, stack[:6], ome_image(z=3, c=2, order=order))
        np.testing.assert_array_equal(read(path, image=2), stack[second])

    def test_one_file_of_a_set_of_many(self, tmp_path, stack):
        folder = tmp_path / "set"
        folder.mkdir()
        for n in range(3):
            data = "".join(
                f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="s{z}.ome.tif">'
                f"urn:uuid:{z}</UUID></TiffData>"
                for z in range(3)
            )
            write_ome(
                folder / f"s{n}.ome.tif",
                stack[n],
                ome_image(z=3, data=data),
                f' UUID="urn:uuid:{n}"',
            )
        with pytest.raises(InvalidArgumentError, match="1 are here and 2 in other files"):
            look(folder / "s0.ome.tif")
        np.testing.assert_array_equal(read(folder), stack[:3])


class TestThinStacks:
    """Sections that a writer called channels or times."""

    def test_few_channels_are_asked_about(self, tmp_path, stack):
        path = tmp_path / "five.tif"
        tifffile.imwrite(path, stack[:5], imagej=True)
        with pytest.raises(InvalidArgumentError, match=r"5 channels.*--axes ZYX"):
            look(path)
        np.testing.assert_array_equal(read(path, axes="ZYX"), stack[:5])
        np.testing.assert_array_equal(read(path, image=3), stack[2:3])

    @pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}])
    def test_many_channels_are_sections_and_that_is_told(self, tmp_path, stack, options):
        path = tmp_path / "ten.tif"
        tifffile.imwrite(path, stack, photometric="minisblack", **options)
        assert any("calls its 10 pages channels" in said for said in look(path).warnings)
        np.testing.assert_array_equal(read(path), stack)

    def test_times_are_sections_and_that_is_told(self, tmp_path, stack):
        path = tmp_path / "ten.tif"
        tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "TYX"})
        assert any("calls its 10 pages times" in said for said in look(path).warnings)

    def test_axes_that_do_not_fit_are_refused(self, tmp_path, stack):
        path = tmp_path / "ten.tif"
        tifffile.imwrite(path, stack)
        with pytest.raises(InvalidArgumentError, match="names 2 axes"):
            look(path, axes="TZYX")

    def test_axes_can_be_renamed(self, tmp_path, stack):
        path = tmp_path / "many.tif"
        tifffile.imwrite(path, stack.reshape(5, 2, 45, 53))
        np.testing.assert_array_equal(read(path, axes="ZCYX", image=2), stack[1::2])


class TestOnePageForAll:
    """Files of which only the first page has tags; the voxels of the others follow."""

    @pytest.mark.parametrize("byteorder", ["<", ">"])
    def test_tifffile_truncated(self, tmp_path, stack, byteorder):
        path = tmp_path / "a.tif"
        data = stack.astype("u2") * 250
        tifffile.imwrite(path, data, truncate=True, byteorder=byteorder)
        np.testing.assert_array_equal(read(path), data)

    def test_imagej(self, tmp_path, stack):
        # What ImageJ writes beyond 4 GiB, without the 4 GiB.
        path = tmp_path / "a.tif"
        text = "ImageJ=1.54f\nimages=10\nslices=10\nunit=nm\nspacing=40"
        tifffile.imwrite(path, stack[0], metadata=None, description=text)
        with path.open("ab") as file:
            with tifffile.TiffFile(path) as tiff:
                end = tiff.pages[0].dataoffsets[0] + stack[0].nbytes
            assert end == path.stat().st_size
            file.write(stack[1:].tobytes())
        np.testing.assert_array_equal(read(path), stack)
        np.testing.assert_array_equal(read(path, axes="ZYX"), stack)
        assert look(path).voxel_size[0] == 40
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(InvalidArgumentError, match="speaks of 10 pages, but has voxels of 9"):
            look(path)

    def test_ordered_by_channel_and_depth(self, tmp_path, stack):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, stack.reshape(2, 5, 45, 53), truncate=True)
        np.testing.assert_array_equal(read(path, image=2), stack[5:])


class TestPagesThatDiffer:
    """A stack whose pages are stored in different ways is read whole, each page by its own tags."""

    @pytest.mark.parametrize("odd", [0, 4, 9])
    @pytest.mark.parametrize(
        "options",
        [{"compression": "zlib"}, {"rowsperstrip": 7}, {"tile": (16, 16)}, {"predictor": None}],
    )
    def test_in_compression_or_layout(self, tmp_path, stack, odd, options):
        path = tmp_path / "a.tif"
        with tifffile.TiffWriter(path) as tiff:
            for n, section in enumerate(stack):
                how = options if n == odd else {"compression": None}
                tiff.write(section, metadata=None, contiguous=False, **how)
        np.testing.assert_array_equal(read(path), stack)

    def test_in_photometric(self, tmp_path, stack):
        path = tmp_path / "a.tif"
        with tifffile.TiffWriter(path) as tiff:
            for n, section in enumerate(stack):
                white = n == 4
                tiff.write(
                    255 - section if white else section,
                    metadata=None,
                    photometric="miniswhite" if white else "minisblack",
                )
        np.testing.assert_array_equal(read(path), stack)

    @pytest.mark.parametrize("odd", [0, 4, 9])
    def test_in_type_is_refused(self, tmp_path, stack, odd):
        path = tmp_path / "a.tif"
        with tifffile.TiffWriter(path) as tiff:
            for n, section in enumerate(stack):
                tiff.write(section.astype("u2") if n == odd else section, metadata=None)
        with pytest.raises(InvalidArgumentError, match="one size and type"):
            look(path)


class TestPreviews:
    @pytest.mark.parametrize("place", [0, 5, 10])
    @pytest.mark.parametrize("marked", [True, False])
    def test_are_left_out_and_that_is_told(self, tmp_path, stack, place, marked):
        path = tmp_path / "a.tif"
        with tifffile.TiffWriter(path) as tiff:
            for n in range(len(stack) + 1):
                if n == place:
                    options = {"subfiletype": 1} if marked else {}
                    tiff.write(np.zeros((6, 7), "u1"), metadata=None, **options)
                if n < len(stack):
                    tiff.write(stack[n], metadata=None)
        assert any("preview" in said and str(place + 1) in said for said in look(path).warnings)
        np.testing.assert_array_equal(read(path), stack)

    def test_with_headers_of_their_own(self, tmp_path, stack):
        path = tmp_path / "a.tif"
        with tifffile.TiffWriter(path) as tiff:
            tiff.write(stack)
            tiff.write(np.zeros((6, 7), "u1"))
        assert any("preview" in said for said in look(path).warnings)
        np.testing.assert_array_equal(read(path), stack)

    def test_pages_of_nearly_one_size_are_no_previews(self, tmp_path, stack):
        path = tmp_path / "a.tif"
        with tifffile.TiffWriter(path) as tiff:
            tiff.write(stack, metadata=None)
            tiff.write(stack[0, :30], metadata=None)
        with pytest.raises(InvalidArgumentError, match=r"differ in size \(45 × 53, 30 × 53\)"):
            look(path)
        np.testing.assert_array_equal(read(path, image=1), stack)
