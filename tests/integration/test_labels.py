"""Labels that are not what they seem, through the whole platform."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.client.geometry import Box
from biosegment.client.label_values import AS_PAINTED
from biosegment.v1 import jobs_pb2
from tests.integration.conftest import VOXEL, World

BOX = Box((0, 0, 0), (1, 64, 64))


@pytest.fixture(scope="module")
def masks(world: World) -> str:
    """A data set of its own."""
    job = world.client.import_volume(world.folder / "raw.tif", dataset="masks", voxel_size=VOXEL)
    world.client.wait(job)
    return "masks"


def settings(**more: object) -> jobs_pb2.TrainingSettings:
    made = jobs_pb2.TrainingSettings(steps=2, batch_size=1, seed=1, **more)  # type: ignore[arg-type]
    made.patch.z, made.patch.y, made.patch.x = 1, 32, 32
    return made


def test_a_binary_mask_is_asked_about_and_background_alone_is_not_trained_on(
    world: World, masks: str
) -> None:
    client = world.client
    fiji = np.zeros(BOX.shape, np.uint8)
    fiji[:, 8:24, 8:24] = 255
    with pytest.raises(InvalidArgumentError, match=r"--map 255=1"):
        client.commit(masks, BOX, fiji)
    assert client.annotations(masks) == []
    client.commit(masks, BOX, fiji, label_map=AS_PAINTED)
    with pytest.raises(FailedPreconditionError, match=r"class 0 \(background\) alone"):
        client.train("unet", masks, settings=settings())
    client.commit(masks, BOX, fiji, label_map=["255=1"])
    hold_out = jobs_pb2.HoldOut(fraction=0.2)
    job = client.wait(client.train("unet", masks, settings=settings(hold_out=hold_out)))
    (told,) = job.warnings
    assert "Nothing was held out" in told
    version = client.version(job.result.train_result.version)
    assert list(version.warnings) == [told]
    assert version.metrics["labelled_voxels_1"] == 256
    assert version.metrics["labelled_voxels_0"] == 64 * 64 - 256


def test_what_was_labelled_once_and_is_no_more_counts_as_not_labelled(
    world: World, masks: str
) -> None:
    client = world.client
    box = Box((1, 0, 0), (2, 32, 32))
    client.import_volume(world.folder / "raw.tif", dataset="erased", voxel_size=VOXEL)
    client.wait(client.jobs(limit=1)[0])
    client.commit("erased", box, np.ones(box.shape, np.uint8))
    client.commit("erased", box, np.zeros(box.shape, np.uint8))
    # The record knows of commits of both classes; what still stands, the training sees.
    with pytest.raises(FailedPreconditionError, match=r"class 0 \(background\) alone"):
        client.wait(client.train("unet", "erased", settings=settings()))
    tuned = client.train("unet", "erased", base_version="unet/1", settings=settings())
    told = client.wait(tuned).warnings
    assert any("No voxel of class 1 (mitochondria)" in warning for warning in told)


def test_figures_of_another_data_set_stand_beside_those_of_the_first(
    world: World, masks: str, tmp_path: Path
) -> None:
    client = world.client
    with pytest.raises(FailedPreconditionError, match="no class values"):
        client.evaluate("unet/1", masks, "em-raw")
    ones = np.full(client.read("em").shape, 255, np.int32)
    ones[:, :8, :8] = 1
    path = world.folder / "ones.tif"
    tifffile.imwrite(path, ones, photometric="minisblack")
    client.wait(client.import_labels(path, dataset=masks))
    first = client.wait(client.evaluate("unet/1", "em", world.reference, box=BOX))
    second = client.wait(client.evaluate("unet/1", masks, "masks-reference", box=BOX))
    assert "holds no voxel of class 0" in second.warnings[0]
    version = client.version("unet/1")
    assert "iou" not in version.metrics
    measured = {each.dataset.rpartition("/")[2]: each for each in version.evaluations}
    assert measured["em"].metrics == first.result.evaluate_result.metrics
    assert measured[masks].voxels == 64
