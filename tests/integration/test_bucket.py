"""The whole platform with its arrays in a bucket, behind a network that fails now and then."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from biosegment.cli.up.platform import Options, Platform
from biosegment.client import Client
from biosegment.client.errors import FailedPreconditionError
from biosegment.client.geometry import Box
from biosegment.phantom import generate
from biosegment.v1 import jobs_pb2
from tests.faulty_proxy import FAULTS, FaultyProxy
from tests.s3_kit import S3

SHAPE, VOXEL = (6, 96, 112), (45.0, 9.2, 9.2)
_QUICK = {"BIOSEGMENT_LEASE_SECONDS": "5", "BIOSEGMENT_RECONCILE_SECONDS": "0.5"}


def live(options: Options) -> tuple[dict[str, np.ndarray], str]:
    """Import, annotate, train, segment, export; what every volume then holds."""
    phantom = generate(shape=SHAPE, voxel_size=VOXEL, seed=6)
    folder = options.import_roots[0]
    tifffile.imwrite(folder / "raw.tif", phantom.raw)
    with Platform(options) as platform, Client(platform.connection) as client:
        client.put_label_class(1, "mitochondria")
        client.wait(client.import_volume(folder / "raw.tif", dataset="em", voxel_size=VOXEL))
        small = {"feature_maps": 4, "levels": 2}
        client.create_model("unet", classes=[0, 1], architecture="unet2d-quarter", parameters=small)
        box = Box((0, 0, 0), (2, 64, 64))
        client.commit("em", box, phantom.labels[box.slices].astype(np.uint8), tool="test")
        settings = jobs_pb2.TrainingSettings(steps=6, batch_size=2, checkpoint_steps=3, seed=1)
        settings.patch.z, settings.patch.y, settings.patch.x = 1, 32, 32
        trained = client.wait(client.train("unet", "em", settings=settings), timeout=120)
        assert trained.state == jobs_pb2.JOB_STATE_SUCCEEDED, trained.error.message
        done = client.wait(
            client.segment("unet/1", "em", segmentation="s", entropy_volume="em-unsure"),
            timeout=120,
        )
        assert done.state == jobs_pb2.JOB_STATE_SUCCEEDED, done.error.message
        out = folder / "out.tif"
        client.wait(client.export(done.result.segment_result.volume, out), timeout=120)
        result = done.result.segment_result
        found = {
            "raw": client.read("em"),
            "labels": client.read(result.volume),
            "entropy": client.read(result.entropy_volume),
        }
        assert np.array_equal(tifffile.imread(out), found["labels"])
        return found, platform.store


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    for name in ("near", "far", "streamed"):
        (tmp_path / name).mkdir()
    return tmp_path


def options(folder: Path, **given: object) -> Options:
    return Options(
        home=folder / "home",
        import_roots=[folder],
        export_roots=[folder],
        **given,  # type: ignore[arg-type]
    )


@pytest.mark.slow
@pytest.mark.parametrize("access", ["direct", "stream"])
def test_everything_is_the_same_in_a_bucket_behind_a_bad_network(
    folder: Path, s3: S3, s3_keys: None, access: str
) -> None:
    expected, _ = live(options(folder / "near", environment=_QUICK))
    bucket = s3.bucket(f"platform-{access}")
    with FaultyProxy(s3.port, seed=3, rate=0.2) as proxy:
        found, store = live(
            options(
                folder / "far",
                store=f"s3://{bucket}/lab",
                store_endpoint=proxy.endpoint,
                environment={**_QUICK, "BIOSEGMENT_STORE_ACCESS": access},
            )
        )
        assert set(proxy.met) == set(FAULTS), proxy.met
    assert store == f"s3://{bucket}/lab"
    assert not (folder / "far" / "home" / "store").exists()
    assert any(key.startswith("lab/default/em-raw.zarr/") for key in s3.keys(bucket))
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    secret = s3.owner.secret.encode()
    assert not any(secret in path.read_bytes() for path in (folder / "far/home/logs").iterdir())


def test_a_store_that_cannot_be_used_is_said_in_a_sentence(
    folder: Path, s3: S3, s3_keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(store: str, endpoint: str = s3.endpoint) -> str:
        with pytest.raises(FailedPreconditionError) as caught:
            Platform(options(folder, store=store, store_endpoint=endpoint)).start()
        return caught.value.message

    assert "s3://nowhere/ cannot be used: there is no such bucket" in refused("s3://nowhere")
    assert '"ftp://…" is no place for a store' in refused("ftp://host/x")
    bucket = s3.bucket("rights")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "check AWS_SECRET_ACCESS_KEY" in refused(f"s3://{bucket}")
    # A store that was refused is not what the home keeps to.
    home = folder / "home"
    assert not (home / "store-place").exists()
