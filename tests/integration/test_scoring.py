"""Patches scored by the running platform, as a ranking asks for them."""

import numpy as np
import pytest
import tifffile

from biosegment.client.errors import InvalidArgumentError, NotFoundError
from biosegment.client.geometry import Box
from biosegment.client.stubs import SyncStubs
from biosegment.v1 import inference_pb2
from tests.integration.conftest import VOXEL, World

PROJECT = "projects/default"
VERSION = f"{PROJECT}/models/unet/versions/1"
BOXES = [Box.at((n, 16 * n, 8 * n), (1, 32, 32)).to_proto() for n in range(5)]


def scored(world: World, **fields: object) -> list[inference_pb2.PatchScore]:
    asked = {"version": VERSION, "dataset": f"{PROJECT}/datasets/em", "boxes": BOXES, **fields}
    request = inference_pb2.ScorePatchesRequest(**asked)  # type: ignore[arg-type]
    with SyncStubs(world.platform.connection) as stubs:
        return [score for part in stubs.inference.ScorePatches(request) for score in part.scores]


def test_dropout_passes_add_statistics_that_repeat(world: World) -> None:
    plain = scored(world, with_embeddings=True)
    assert [score.index for score in plain] == list(range(5))
    assert all(len(score.embedding) == 64 for score in plain)
    first = scored(world, dropout_passes=3, seed=11)
    again = scored(world, dropout_passes=3, seed=11)
    for a, b, c in zip(plain, first, again, strict=True):
        assert set(b.statistics) - set(a.statistics) == {"bald", "mutual_information"}
        assert b.statistics["mutual_information"] > 0
        assert dict(b.statistics) == pytest.approx(dict(c.statistics), abs=1e-6)
        assert b.statistics["entropy"] == pytest.approx(a.statistics["entropy"], abs=1e-6)


def test_scores_are_those_of_their_boxes_in_whatever_order_chunks_are_read(world: World) -> None:
    rng = np.random.default_rng(3)
    raw = (rng.random((1, 64, 600)) * np.linspace(20, 250, 600)).astype(np.uint8)
    tifffile.imwrite(world.folder / "wide.tif", raw)
    imported = world.client.import_volume(
        world.folder / "wide.tif", dataset="wide", voxel_size=VOXEL
    )
    world.client.wait(imported)
    dataset = f"{PROJECT}/datasets/wide"
    boxes = [Box.at((0, 0, x), (1, 32, 32)).to_proto() for x in (560, 0, 300, 40)]
    together = {score.index: score for score in scored(world, dataset=dataset, boxes=boxes)}
    assert list(together) == [1, 3, 2, 0]
    for index, box in enumerate(boxes):
        (alone,) = scored(world, dataset=dataset, boxes=[box])
        assert dict(together[index].statistics) == pytest.approx(dict(alone.statistics), abs=1e-6)


def test_a_version_does_not_disagree_with_itself(world: World) -> None:
    for score in scored(world, ensemble_versions=[VERSION]):
        assert score.statistics["mutual_information"] == pytest.approx(0, abs=1e-5)
        assert score.statistics["bald"] == pytest.approx(score.statistics["entropy"], abs=1e-5)


@pytest.mark.parametrize(
    ("fields", "error", "word"),
    [
        ({"dropout_passes": 65}, InvalidArgumentError, "0 to 64"),
        ({"dropout_passes": -1}, InvalidArgumentError, "0 to 64"),
        ({"ensemble_versions": [VERSION] * 4}, InvalidArgumentError, "at most 3"),
        (
            {"ensemble_versions": [f"{PROJECT}/models/other/versions/1"]},
            InvalidArgumentError,
            "not a version of",
        ),
        ({"ensemble_versions": [VERSION.replace("/1", "/99")]}, NotFoundError, "99"),
    ],
)
def test_what_cannot_be_compared_is_named(world: World, fields, error, word) -> None:
    with pytest.raises(error, match=word):
        scored(world, **fields)
