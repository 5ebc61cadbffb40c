import pytest

from biosegment.client.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    PathNotAllowedError,
)
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

    def test_a_root_itself_can_be_read(self, roots, tmp_path):
        assert roots.existing(f"{tmp_path}/in") == tmp_path / "in"
        assert roots.existing(f"{tmp_path}/in/") == tmp_path / "in"
        assert roots.existing(f"{tmp_path}/in/../in/.") == tmp_path / "in"
        with pytest.raises(AlreadyExistsError, match="never overwrite"):
            roots.new(f"{tmp_path}/in")

    def test_the_sentence_names_the_option(self, roots, tmp_path):
        with pytest.raises(PathNotAllowedError, match="`biosegment up --import-root FOLDER`"):
            roots.existing(f"{tmp_path}/secret.tif")
        with pytest.raises(PathNotAllowedError, match="`biosegment up --export-root FOLDER`"):
            Roots([tmp_path / "in"], "export").new(f"{tmp_path}/out.tif")

    def test_names_too_long_for_any_disk(self, roots, tmp_path):
        for path in (f"{tmp_path}/in/{'a' * 300}.tif", f"{tmp_path}/in" + "/a" * 3000):
            for use in (roots.existing, roots.new):
                with pytest.raises(InvalidArgumentError, match="too long") as refused:
                    use(path)
                assert len(refused.value.message) < 400


class TestOwnFolders:
    """The platform's own folders lie under the roots by default."""

    @pytest.fixture
    def home(self, tmp_path):
        for name in ("home", "home/store", "home/nats", "elsewhere"):
            (tmp_path / name).mkdir()
        (tmp_path / "home" / "connection.json").touch()
        return tmp_path / "home"

    @pytest.fixture
    def exports(self, tmp_path, home):
        return Roots([tmp_path], "export", own=[home, tmp_path / "elsewhere"])

    @pytest.mark.parametrize(
        "path",
        [
            "home/x.tif",
            "home/store/evil.zarr",
            "home/nats/x.tif",
            "home/connection.json.new",
            "home",
            "elsewhere/x.zarr",
            "link/x.tif",
            "out/../home/x.tif",
        ],
    )
    def test_are_never_written(self, tmp_path, home, exports, path):
        (tmp_path / "out").mkdir()
        (tmp_path / "link").symlink_to(home / "store")
        with pytest.raises(PathNotAllowedError, match="belongs to the platform itself"):
            exports.new(f"{tmp_path}/{path}")

    def test_are_never_read(self, tmp_path, home):
        roots = Roots([tmp_path], "import", own=[home])
        with pytest.raises(PathNotAllowedError, match="belongs to the platform itself"):
            roots.existing(f"{home}/connection.json")
        # Not even by whom they belong to.
        with pytest.raises(PathNotAllowedError, match="belongs to the platform itself"):
            roots.existing(f"{home}/connection.json", granted=lambda _real: True)
        with pytest.raises(PathNotAllowedError, match="belongs to the platform itself"):
            roots.with_root(home).existing(f"{home}/connection.json")

    def test_even_if_they_are_roots(self, home):
        with pytest.raises(PathNotAllowedError, match="belongs to the platform itself"):
            Roots([home], "export", own=[home]).new(f"{home}/x.tif")

    def test_their_neighbours_are_free(self, tmp_path, exports):
        assert exports.new(f"{tmp_path}/home.tif")
        assert exports.new(f"{tmp_path}/homework.tif")
