"""Homes of real platforms: restarted, copied, backed up; arrays are never two platforms'."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from biosegment.cli.backup.restore import restore
from biosegment.cli.backup.take import take
from biosegment.cli.up.home import Home
from biosegment.cli.up.platform import Options, Platform
from biosegment.client import Client
from biosegment.client.connection import Connection
from biosegment.client.errors import FailedPreconditionError
from biosegment.client.geometry import Box
from tests.integration.conftest import wait_until

VOXEL = (45.0, 9.2, 9.2)
RAW = np.random.default_rng(4).integers(0, 255, (6, 48, 48)).astype(np.uint8)


def options(folder: Path, home: str, **more: str) -> Options:
    return Options(
        home=folder / home,
        import_roots=[folder],
        export_roots=[folder],
        environment={"BIOSEGMENT_SWEEP_SECONDS": "1"},
        **more,  # type: ignore[arg-type]
    )


def fill(client: Client, folder: Path) -> None:
    tifffile.imwrite(folder / "raw.tif", RAW, photometric="minisblack")
    client.put_label_class(1, "mitochondria")
    client.wait(client.import_volume(folder / "raw.tif", dataset="em", voxel_size=VOXEL))


@pytest.mark.slow
def test_who_lives_on_finds_the_platform_and_a_backup_and_a_copy_are_their_own(
    tmp_path: Path,
) -> None:
    with Platform(options(tmp_path, "home")) as platform:
        first = platform.connection
        client = Client(Connection.load(platform.connection_path))
        fill(client, tmp_path)
    with Platform(options(tmp_path, "home")) as platform:
        assert platform.connection == first
        assert [each.name for each in client.datasets()] == ["projects/default/datasets/em"]
        box = Box((0, 0, 0), (1, 8, 8))
        client.commit("em", box, np.ones(box.shape, np.uint8), tool="test")
        take(platform.home, tmp_path / "backup", endpoint="", region="")
        restored = Home(tmp_path / "restored")
        restore(tmp_path / "backup", restored)
        shutil.copytree(tmp_path / "home", tmp_path / "copy")
        with Platform(options(tmp_path, "copy")) as copy, Client(copy.connection) as other:
            assert set(copy.connection.addresses.values()).isdisjoint(first.addresses.values())
            assert copy.store == str(tmp_path / "copy" / "store")
            shutil.rmtree(tmp_path / "copy" / "store" / "default")
            assert other.volumes() == []
        assert (client.read("em") == RAW).all()
    with Platform(options(tmp_path, "restored")) as platform, Client(platform.connection) as again:
        assert platform.connection.token != first.token
        assert (again.read("em") == RAW).all()
        view = again.dataset("em").label_volume
        wait_until(lambda: again.volume(view).revision == 1)
        assert (again.read(view)[box.slices] == 1).all()
        assert (again.read(view)[1:] == 255).all()
    client.close()


@pytest.mark.slow
def test_arrays_elsewhere_are_of_one_platform(tmp_path: Path) -> None:
    store = str(tmp_path / "arrays")
    with Platform(options(tmp_path, "home", store=store)):
        # A copy that is made while it runs.
        shutil.copytree(tmp_path / "home", tmp_path / "copy")
        with pytest.raises(FailedPreconditionError, match="in use by another platform"):
            Platform(options(tmp_path, "copy")).start()
    # Whoever comes first has them from now on; the other one is told.
    with Platform(options(tmp_path, "copy")) as copy:
        assert copy.store == store
    with pytest.raises(FailedPreconditionError, match="belongs to another platform"):
        Platform(options(tmp_path, "home")).start()
    with pytest.raises(FailedPreconditionError, match="belongs to another platform"):
        Platform(options(tmp_path, "new", store=store)).start()
