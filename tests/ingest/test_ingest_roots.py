import pytest

from biosegment.client.errors import InvalidArgumentError, PathNotAllowedError
from biosegment.ingest.readers import folder
from biosegment.ingest.readers.base import Reading
from biosegment.ingest.roots import Roots


class TestRoots:
    @pytest.fixture
    def roots(self, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "a.tif").touch()
        (tmp_path / "secret.tif").touch()
        (tmp_path / "in-other").mkdir()
        (tmp_path / "in-other" / "b.tif").touch()
        return Roots([tmp_path / "in"], "import")

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
            folder.scan(tmp_path / "in", Reading(), roots.existing)
        with pytest.raises(PathNotAllowedError):
            roots.new(f"{tmp_path}/in/folder/out.tif")

    @pytest.mark.parametrize("path", ["in/a.tif", "", "a\0b", "~/a.tif"])
    def test_only_absolute_paths(self, roots, path):
        with pytest.raises(InvalidArgumentError, match="absolute"):
            roots.existing(path)

    def test_no_roots_allow_nothing(self, tmp_path):
        with pytest.raises(PathNotAllowedError, match="none"):
            Roots([], "import").existing(str(tmp_path))

    def test_missing_source(self, roots, tmp_path):
        with pytest.raises(InvalidArgumentError, match="no file or folder"):
            roots.existing(f"{tmp_path}/in/none.tif")
