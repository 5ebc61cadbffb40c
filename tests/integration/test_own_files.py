"""Files where they lie: whose they are decides, and the platform's own are nobody's."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from biosegment.client import Client, Connection
from biosegment.client.errors import PathNotAllowedError
from tests.integration.conftest import VOXEL, World
from tests.integration.test_loop import cli

_VOXEL = ("--voxel-size", ",".join(map(str, VOXEL)))


def test_what_its_owner_names_is_imported_from_anywhere(world: World, tmp_path: Path) -> None:
    path = tmp_path / "own.tif"
    data = np.random.default_rng(0).integers(0, 255, (4, 40, 50)).astype("u1")
    tifffile.imwrite(path, 255 - data, photometric="miniswhite")
    # Who has the token alone, from another machine perhaps, cannot read the platform's files.
    with (
        Client(Connection.load(world.platform.connection_path)) as client,
        pytest.raises(PathNotAllowedError, match="--import-root"),
    ):
        client.import_volume(path, dataset="own", voxel_size=VOXEL)
    done = cli(world, "import", str(path), "--dataset", "own", *_VOXEL)
    assert done.returncode == 0, done.stderr
    assert "white-is-zero" in done.stderr
    assert np.array_equal(world.client.read("own"), data)


def test_the_platforms_own_folders_are_neither_read_nor_written(world: World) -> None:
    home = world.platform.home.folder
    before = sorted(home.iterdir())
    inside = str(home / "store" / "default" / "evil.tif")
    for arguments in (
        ("export", "em-raw", inside),
        ("export", "em-raw", str(home / "nats" / "x.tif")),
        ("import", str(home / "token"), "--dataset", "token", *_VOXEL),
    ):
        refused = cli(world, *arguments)
        assert refused.returncode == 1
        assert "belongs to the platform itself" in refused.stderr
    assert sorted(home.iterdir()) == before
