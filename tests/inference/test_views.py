"""Averages over flips, turns and orientations: blocks equal the mean over the whole volume."""

import tracemalloc
from math import prod

import numpy as np
import pytest

from biosegment.client.geometry import BlockGrid, Box
from biosegment.inference.child.average import predict_views
from biosegment.inference.child.predict import ENTROPY, LABELS, PROBABILITIES
from biosegment.inference.child.tiles import tiles
from biosegment.inference.views import View, around, views_of
from biosegment.nets import catalog
from biosegment.v1 import jobs_pb2
from tests.inference.test_tiles_seamless import CLASSES, network, volume_of, whole

NONE = jobs_pb2.AUGMENTATION_UNSPECIFIED
FLIPS = jobs_pb2.AUGMENTATION_FLIPS
TURNS = jobs_pb2.AUGMENTATION_TURNS


def test_a_view_takes_boxes_along():
    volume = volume_of((4, 5, 6))
    box = Box((1, 0, 2), (3, 4, 6))
    for view in views_of(TURNS, True, network("2-D").module.footprint):
        seen = view.of(volume)
        assert seen.shape == view.extent(volume.shape)
        assert np.array_equal(seen[view.box(box, volume.shape).slices], view.of(volume[box.slices]))
        assert np.array_equal(view.back(seen[np.newaxis])[0], volume)


def test_the_views_are_different_and_the_first_is_plain():
    flat, thick = (network(kind).module.footprint for kind in ("2-D", "3-D"))
    for footprint, augmentation, three, count in (
        (flat, NONE, False, 1),
        (flat, FLIPS, False, 4),
        (flat, TURNS, False, 8),
        (thick, FLIPS, False, 8),
        (thick, TURNS, False, 16),
        (flat, NONE, True, 3),
        (flat, TURNS, True, 24),
    ):
        found = views_of(augmentation, three, footprint)
        assert found[0] == View()
        assert len(set(found)) == len(found) == count


def blocked(predictor, volume, block, views, output):
    channels = (len(CLASSES),) if output == PROBABILITIES else ()
    made = np.zeros((*channels, *volume.shape), np.uint8 if output == LABELS else np.float32)
    for box in BlockGrid(Box.of_shape(volume.shape), block):
        read = around(box, views, predictor.module.footprint, volume.shape)
        (part,) = predict_views(
            predictor,
            volume[read.slices],
            origin=read.start,
            shape=volume.shape,
            box=box,
            outputs=(output,),
            views=views,
            check=lambda: None,
        )
        made[(..., *box.slices)] = part
    return made


@pytest.mark.parametrize(
    ("kind", "augmentation", "three", "shape", "block", "forward"),
    [
        ("2-D", FLIPS, False, (1, 61, 83), (1, 61, 48), 60**2),
        ("2-D", TURNS, False, (1, 61, 53), (1, 40, 53), 60**2),
        ("2.5-D", FLIPS, False, (5, 37, 41), (2, 37, 20), 60**2),
        ("2-D, whole sections", TURNS, False, (2, 37, 41), (1, 37, 41), 90**2),
        ("3-D", FLIPS, False, (23, 29, 19), (13, 16, 19), 26**3),
        ("3-D, anisotropic", TURNS, False, (5, 21, 13), (3, 21, 7), 64**3),
        ("2-D", NONE, True, (31, 37, 29), (16, 20, 29), 60**2),
        ("2.5-D", FLIPS, True, (13, 21, 17), (8, 11, 17), 60**2),
    ],
)
def test_blocks_equal_the_mean_over_views_of_the_whole(
    kind, augmentation, three, shape, block, forward
):
    predictor, volume = network(kind), volume_of(shape)
    predictor.forward_pixels = forward
    views = views_of(augmentation, three, predictor.module.footprint)
    expected = sum(view.back(whole(predictor, view.of(volume))) for view in views) / len(views)
    made = blocked(predictor, volume, block, views, PROBABILITIES)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    assert np.abs(made - whole(predictor, volume)).max() > 1e-3


def test_labels_and_entropy_are_those_of_the_mean():
    predictor, volume = network(), volume_of((1, 61, 53))
    views = views_of(FLIPS, False, predictor.module.footprint)
    mean = blocked(predictor, volume, (1, 61, 53), views, PROBABILITIES)
    entropy = blocked(predictor, volume, (1, 40, 53), views, ENTROPY)
    np.testing.assert_allclose(entropy, -(mean * np.log(mean)).sum(0), atol=1e-5)
    labels = blocked(predictor, volume, (1, 40, 53), views, LABELS)
    top = np.sort(mean, axis=0)
    clear = top[-1] - top[-2] > 1e-4
    assert np.array_equal(labels[clear], np.asarray(CLASSES, np.uint8)[mean.argmax(0)][clear])
    assert clear.mean() > 0.9


def test_two_views_at_most_are_held_at_a_time():
    predictor, volume = network(), volume_of((8, 96, 96))
    views = views_of(FLIPS, False, predictor.module.footprint)
    tracemalloc.start()
    try:
        blocked(predictor, volume, volume.shape, views, LABELS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    probabilities = len(CLASSES) * 4 * volume.size
    assert 2 * probabilities < peak < 2.7 * probabilities


@pytest.mark.parametrize(("thickness", "edgeways"), [(64, 4.0), (128, 2.5)])
def test_three_orientations_cost_what_the_docs_say(thickness, edgeways):
    shape, box = (512, 1024, 1024), Box((192, 0, 0), (192 + thickness, 1024, 1024))
    architecture = catalog.find("unet2d-quarter")
    footprint = architecture.footprint(catalog.resolve("unet2d-quarter", {}))
    costs = []
    for view in views_of(NONE, True, footprint):
        cut = tiles(
            view.box(box, shape),
            shape=view.extent(shape),
            footprint=footprint,
            forward_pixels=1 << 20,
        )
        costs.append(sum(prod(span.size for span in tile.axes) for tile in cut) / box.voxels)
    assert costs == [1.0, edgeways, edgeways]
