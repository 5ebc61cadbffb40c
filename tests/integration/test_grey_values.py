"""The same picture stored otherwise, on the running platform: every verb makes the same of it."""

import json
import sqlite3

import numpy as np
import pytest
import tifffile

from biosegment.client.geometry import Box
from biosegment.client.stubs import SyncStubs
from biosegment.v1 import inference_pb2, jobs_pb2, registry_pb2, storage_pb2
from tests.integration.conftest import VOXEL

VOLUMES = "projects/default/volumes"
BOX = Box((0, 0, 0), (4, 160, 176))


def padded(raw):
    made = np.full((raw.shape[0], 320, 352), 40, raw.dtype)
    made[:, :160, :176] = raw
    return made


STORED = {
    "times16": lambda raw: raw.astype("u2") * 16,
    "darker": lambda raw: (raw * 0.6).astype("u1"),
    "flatter": lambda raw: (raw * 0.5 + 64).astype("u1"),
    "floats": lambda raw: (raw / 255).astype("f4"),
    "signed": lambda raw: raw.astype("i2") * 100 - 9000,
}


def import_as(world, name, volume):
    path = world.folder / f"{name}.tif"
    tifffile.imwrite(path, volume, photometric="minisblack")
    world.client.wait(world.client.import_volume(path, dataset=name, voxel_size=VOXEL))


@pytest.fixture(scope="module")
def stored(world):
    for name, store in STORED.items():
        import_as(world, name, store(world.raw))
    return world


def agreement(a, b):
    return float((a == b).mean())


def test_padding_is_background_and_changes_nothing_beside_it(stored):
    import_as(stored, "padded", padded(stored.raw))
    found = stored.client.predict("unet/1", "padded", Box((0, 0, 0), (4, 320, 352)))
    assert not found[:, 160:].any()
    assert not found[:, :, 176:].any()
    expected = stored.client.predict("unet/1", "em", BOX)
    # At its own end the network pads with zeros, layer by layer, and beside padding it does not.
    assert agreement(found[:, :160, :176], expected) > 0.93
    job = stored.client.wait(stored.client.segment("unet/1", "padded"))
    volume = job.result.segment_result.volume
    made = stored.client.read(volume, Box((0, 0, 0), (4, 320, 352)))
    assert agreement(made, found) > 0.9999


@pytest.mark.parametrize("name", STORED)
def test_a_picture_stored_otherwise_is_predicted_as_it_was(stored, name):
    expected = stored.client.predict("unet/1", "em", BOX, output="probabilities")
    found = stored.client.predict("unet/1", name, BOX, output="probabilities")
    # Grey levels that flooring took are gone.
    assert float(np.abs(found - expected).mean()) < 0.02
    assert np.corrcoef(found[1].ravel(), expected[1].ravel())[0, 1] > 0.98


def test_segmentation_uncertainty_and_scores_are_the_same_too(stored):
    made = {}
    for name in ("em", "times16"):
        entropy = f"{name}-unsure"
        job = stored.client.wait(stored.client.segment("unet/1", name, entropy_volume=entropy))
        assert not job.warnings
        whole = Box.of_shape(stored.raw.shape)
        made[name] = [
            stored.client.read(volume, whole)
            for volume in (job.result.segment_result.volume, f"{VOLUMES}/{entropy}")
        ]
    assert agreement(made["em"][0], made["times16"][0]) > 0.999
    np.testing.assert_allclose(made["em"][1], made["times16"][1], atol=0.02)
    with SyncStubs(stored.platform.connection) as stubs:
        scores = []
        for name in ("em", "times16"):
            request = inference_pb2.ScorePatchesRequest(
                version="projects/default/models/unet/versions/1",
                dataset=f"projects/default/datasets/{name}",
                boxes=[Box.at((n, 40, 40), (1, 64, 64)).to_proto() for n in range(3)],
            )
            answers = list(stubs.inference.ScorePatches(request))
            found = {score.index: score for answer in answers for score in answer.scores}
            scores.append([found[n].statistics["entropy"] for n in range(3)])
    assert scores[0] == pytest.approx(scores[1], abs=0.01)


def test_fine_tuning_on_other_storage_keeps_the_scale_and_is_told(stored):
    client = stored.client
    client.commit("times16", Box((0, 0, 0), (3, 96, 128)), stored.truth[:3, :96, :128], tool="test")
    settings = jobs_pb2.TrainingSettings(steps=10, batch_size=2, seed=1, learning_rate=1e-4)
    settings.patch.z, settings.patch.y, settings.patch.x = 1, 64, 64
    job = client.wait(client.train("unet", "times16", settings=settings, base_version="unet/1"))
    assert any("do worse on projects/default/datasets/em" in said for said in job.warnings)
    with SyncStubs(stored.platform.connection) as stubs:

        def version(name):
            request = registry_pb2.GetModelVersionRequest(name=name)
            return stubs.registry.GetModelVersion(request).version

        base = version("projects/default/models/unet/versions/1")
        tuned = version(job.result.train_result.version)
    assert base.reference.dataset == "projects/default/datasets/em"
    assert len(base.reference.grey.quantiles) == 7
    assert tuned.reference == base.reference
    assert list(tuned.warnings) == list(job.warnings)
    number = tuned.name.rpartition("/")[2]
    on_either = [client.predict(f"unet/{number}", name, BOX) for name in ("em", "times16")]
    assert agreement(*on_either) > 0.999


def test_inverted_contrast_and_other_voxels_are_told(stored):
    path = stored.folder / "inverted.tif"
    tifffile.imwrite(path, 255 - stored.raw, photometric="minisblack")
    size = (45.0, 3.0, 3.0)
    job = stored.client.wait(stored.client.import_volume(path, dataset="inverted", voxel_size=size))
    job = stored.client.segment("unet/1", "inverted")
    assert sum("seems inverted" in said for said in job.warnings) == 1
    assert sum("Voxels of" in said for said in job.warnings) == 1
    stored.client.wait(job)
    with pytest.warns(UserWarning, match="seems inverted"):
        stored.client.predict("unet/1", "inverted", Box((0, 0, 0), (1, 64, 64)))


def forgotten(world, *names):
    """Takes from volumes what older releases did not record."""
    for name in names:
        (document,) = (world.folder / "home" / "store").rglob(f"{name}-raw.*/zarr.json")
        content = json.loads(document.read_text())
        assert content["attributes"]["biosegment"]["volume"].pop("grey")
        document.write_text(json.dumps(content))


def test_volumes_and_versions_of_before_get_what_they_lack(stored):
    expected = stored.client.predict("unet/1", "em", BOX)
    forgotten(stored, "em", "times16")
    record = sqlite3.connect(stored.folder / "home" / "registry.sqlite", timeout=30)
    with record:
        record.execute("UPDATE model_version SET reference = '{}' WHERE number = 1")
    record.close()
    assert agreement(stored.client.predict("unet/1", "times16", BOX), expected) > 0.999
    with SyncStubs(stored.platform.connection) as stubs:
        for name in ("em", "times16"):
            request = storage_pb2.GetVolumeRequest(name=f"{VOLUMES}/{name}-raw")
            grey = stubs.storage.GetVolume(request).volume.grey
            assert grey.voxels == stored.raw.size
            assert len(grey.quantiles) == 7


def test_a_volume_without_contrast_is_told_and_harms_nothing(stored):
    import_as(stored, "flat", np.full((2, 64, 64), 9, np.uint8))
    job = stored.client.segment("unet/1", "flat")
    assert any("hardly any contrast" in said for said in job.warnings)
    assert stored.client.wait(job).state == jobs_pb2.JOB_STATE_SUCCEEDED
