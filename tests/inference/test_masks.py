"""Masks and uniform tiles: the same voxels, with less work."""

import numpy as np
import pytest

from biosegment.client.errors import FailedPreconditionError
from biosegment.client.geometry import BlockGrid, Box, shape_proto
from biosegment.inference.child import uniform
from biosegment.inference.child.mask import Mask
from biosegment.inference.child.predict import ENTROPY, LABELS, predict_all
from biosegment.inference.child.segment import Pipeline
from biosegment.inference.child.uniform import UniformTiles, is_uniform
from biosegment.inference.masks import factors
from biosegment.v1 import storage_pb2, types_pb2
from tests.inference.test_tiles_seamless import network, volume_of, whole

SHAPE = (5, 150, 130)
BLOCK = (2, 64, 64)


def spread(mask, f, shape):
    """The mask at the raw volume's scale, the slow way."""
    fine = mask.repeat(f[0], 0).repeat(f[1], 1).repeat(f[2], 2)
    return fine[tuple(slice(n) for n in shape)] > 0


@pytest.mark.parametrize("f", [(1, 1, 1), (2, 8, 8), (1, 7, 5)])
def test_a_mask_covers_any_box_of_the_raw_volume(f):
    coarse = tuple(-(-n // k) for n, k in zip(SHAPE, f, strict=True))
    stored = np.random.default_rng(1).integers(0, 2, coarse).astype(np.uint16)
    mask = Mask(lambda box: stored[box.slices], f)
    expected = spread(stored, f, SHAPE)
    for box in (Box.of_shape(SHAPE), Box((1, 3, 11), (4, 149, 128)), Box((4, 149, 129), SHAPE)):
        assert np.array_equal(mask.inside(box), expected[box.slices])


def segmented(predictor, volume, mask=None):
    """Outputs, reports, and boxes read of a blocked segmentation, as the child does it."""
    made = {
        LABELS: np.zeros(volume.shape, np.uint8),
        ENTROPY: np.zeros(volume.shape, np.float32),
    }
    read, reports = [], []

    def raw(box):
        read.append(box)
        return volume[box.slices]

    def write_to(array):
        def write(box, part):
            array[box.slices] = part

        return write

    writes = {output: write_to(array) for output, array in made.items()}
    blocks = list(enumerate(BlockGrid(Box.of_shape(volume.shape), BLOCK)))
    if mask is not None:
        writes = {output: mask.over(write) for output, write in writes.items()}
        blocks = mask.touched(blocks, lambda n: reports.append({"block": n, "skipped": True}))
    Pipeline(predictor, raw, writes, volume.shape).run(blocks, reports.append, lambda: None)
    assert not [report for report in reports if "error" in report]
    return made, reports, read


def test_inside_a_mask_is_what_it_is_without_and_outside_nothing_is_read():
    predictor, volume = network(), volume_of(SHAPE)
    predictor.forward_pixels = 90**2
    stored = np.zeros((5, 38, 33), np.uint8)  # factors (1, 4, 4)
    stored[2:4, 12:30, 3:9] = 3
    mask = Mask(lambda box: stored[box.slices], (1, 4, 4))
    inside = spread(stored, (1, 4, 4), SHAPE)
    plain, _, _ = segmented(predictor, volume)
    masked, reports, read = segmented(predictor, volume, mask)
    for output in (LABELS, ENTROPY):
        assert np.array_equal(masked[output][inside], plain[output][inside])
        assert not masked[output][~inside].any()
    assert plain[LABELS][inside].any()
    # Of the 27 blocks, the mask touches two: of sections 2 and 3, of y below 128, of x below 64.
    skipped = {report["block"] for report in reports if report["skipped"]}
    assert len(reports) == 27
    assert len(skipped) == 25
    assert len(read) == 2
    margin = predictor.module.footprint.margin(SHAPE)[1]
    assert all(box.start[0] >= 2 and box.stop[0] <= 4 for box in read)
    assert all(box.stop[2] <= 64 + margin for box in read)


@pytest.mark.parametrize(
    ("kind", "shape", "forward"),
    [
        ("2-D", (6, 150, 130), 90**2),
        ("2.5-D", (9, 80, 130), 90**2),
        ("2-D, whole sections", (6, 70, 60), 50**2),
        ("3-D", (250, 16, 16), 26**3),
    ],
)
def test_padding_is_predicted_once_and_comes_to_the_same(kind, shape, forward):
    predictor, volume = network(kind), volume_of(shape)
    predictor.forward_pixels = forward
    volume[:, 60:], volume[:, :, 110:], volume[4:] = 0, 255, 255
    box = Box.of_shape(volume.shape)
    (made,) = predict_all(
        predictor,
        volume,
        origin=(0, 0, 0),
        shape=volume.shape,
        box=box,
        outputs=("probabilities",),
    )
    with_memory = predictor.forwards
    plain = network(kind)
    plain.forward_pixels, plain._uniform = forward, Forgetful()
    (expected,) = predict_all(
        plain, volume, origin=(0, 0, 0), shape=volume.shape, box=box, outputs=("probabilities",)
    )
    assert np.array_equal(made, expected)
    assert with_memory < plain.forwards
    # Group norm divides by the spread of a section: rounding alone, where it is of one value.
    np.testing.assert_allclose(made, whole(predictor, volume), atol=1e-4)


class Forgetful(UniformTiles):
    """Runs the network for every tile."""

    def predict(self, seen, tile, wanted, forward):
        return forward()


def test_blocks_of_padding_are_counted_as_skipped():
    predictor = network()
    predictor.forward_pixels = 256**2
    volume = np.zeros((8, 64, 64), np.uint8)
    volume[:2] = volume_of((2, 64, 64))
    _, reports, _ = segmented(predictor, volume)
    # The second block is the first of its kind, and the others are like it.
    assert [report["skipped"] for report in reports] == [False, False, True, True]


def test_one_voxel_that_differs_makes_a_tile_none_of_one_value():
    seen = np.full((3, 65, 70), 7, np.uint16)
    assert is_uniform(seen)
    seen[1, 33, 69] = 8
    assert not is_uniform(seen)
    assert not is_uniform(np.full((1, 2, 2), np.nan, np.float32))


def volume_message(shape, size, **more):
    return storage_pb2.Volume(
        name="projects/p/volumes/v",
        levels=[storage_pb2.VolumeLevel(shape=shape_proto(shape))],
        voxel_size=types_pb2.VoxelSize(z=size[0], y=size[1], x=size[2]),
        **more,
    )


def test_a_mask_has_larger_voxels_by_whole_numbers_over_the_same_extent():
    raw = volume_message((101, 4000, 3001), (50, 4.6, 4.6))
    assert factors(raw, raw) == (1, 1, 1)
    assert factors(volume_message((101, 500, 376), (50, 36.8, 36.8)), raw) == (1, 8, 8)
    assert factors(volume_message((51, 2000, 1501), (100, 9.2, 9.2)), raw) == (2, 2, 2)
    for shape, size in (
        ((101, 4000, 3000), (50, 4.6, 4.6)),  # a column short
        ((101, 500, 376), (50, 4.6, 4.6)),  # says that it is as fine
        ((101, 2667, 2001), (50, 6.9, 6.9)),  # by one and a half
        ((101, 8000, 6002), (50, 2.3, 2.3)),  # finer
    ):
        with pytest.raises(FailedPreconditionError, match="does not cover"):
            factors(volume_message(shape, size), raw)


def test_memory_of_uniform_tiles_is_bounded(monkeypatch):
    monkeypatch.setattr(uniform, "KEPT_BYTES", 3 * 64 * 64)
    predictor = network()
    for value in range(6):
        volume = np.full((1, 64, 64), value, np.uint8)
        predict_all(
            predictor,
            volume,
            origin=(0, 0, 0),
            shape=volume.shape,
            box=Box.of_shape(volume.shape),
            outputs=(LABELS,),
        )
    assert len(predictor._uniform._kept) == 3
