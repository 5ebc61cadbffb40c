from dataclasses import replace
from itertools import pairwise, product
from math import prod

import numpy as np
import pytest
import torch

from biosegment.client.errors import OutOfMemoryError
from biosegment.client.geometry import BlockGrid, Box
from biosegment.inference.child import predict as engine
from biosegment.inference.child.predict import (
    ENTROPY,
    LABELS,
    PROBABILITIES,
    Predictor,
    predict,
)
from biosegment.inference.child.tiles import cuts, input_box, tiles
from biosegment.inference.forwards import openvino_is_installed
from biosegment.nets.architectures import build
from biosegment.nets.footprint import unet_footprint
from biosegment.nets.intensity import AS_IT_IS, GreyMap, unit_scale
from biosegment.nets.padding import reflected

CLASSES = (0, 2, 7)


KINDS = {
    "2-D": ("unet2d", {"levels": 2}),
    "2.5-D": ("unet2d", {"levels": 2, "in_channels": 3}),
    "2.5-D, seven sections": ("unet2d", {"levels": 2, "in_channels": 7}),
    "2-D, whole sections": ("unet2d-group", {"levels": 2}),
    "3-D": ("unet3d", {"levels": 1, "planar_levels": 0}),
    "3-D, pooled in-plane only": ("unet3d", {"levels": 1, "planar_levels": 1}),
    "3-D, anisotropic": ("unet3d", {"levels": 2, "planar_levels": 1}),
}


ENGINES = [
    pytest.param(False, id="torch"),
    pytest.param(
        True,
        id="openvino",
        marks=pytest.mark.skipif(not openvino_is_installed(), reason="OpenVINO is not installed"),
    ),
]


def network(kind="2-D", *, by_openvino=False):
    torch.manual_seed(5)
    architecture, parameters = KINDS[kind]
    module = build(architecture, {"feature_maps": 4, **parameters}, len(CLASSES))
    footprint = module.footprint
    # Statistics as after training, so that normalisation is not the identity.
    with torch.no_grad():
        for _ in range(3):
            module(torch.randn(2, footprint.stride[0] + 2 * footprint.neighbours, 64, 64))
    module.set_input_statistics(0.5, 0.25)
    return Predictor(module.eval(), CLASSES, 1 << 20, by_openvino=by_openvino)


def whole(predictor, volume):
    """The reference: the whole volume at once."""
    footprint = predictor.module.footprint
    d, h, w = volume.shape
    far = [(0, p - n) for n, p in zip(volume.shape, footprint.padded(volume.shape), strict=True)]
    n = footprint.neighbours
    x = reflected(volume, [(n, far[0][1] + n), *far[1:]])
    with torch.inference_mode():
        logits = predictor.module(torch.from_numpy(unit_scale(x)[None]))
        return logits.softmax(1)[0, :, :d, :h, :w].numpy()


def volume_of(shape, dtype=np.uint8):
    top = 255 if dtype == np.uint8 else 65535
    return np.random.default_rng(0).integers(0, top, shape).astype(dtype)


def blocked(predictor, volume, box, block, output):
    channels = (len(CLASSES),) if output == PROBABILITIES else ()
    made = np.zeros((*channels, *volume.shape), np.uint8 if output == LABELS else np.float32)
    for part in BlockGrid(box, block):
        around = input_box(part, volume.shape, predictor.module.footprint)
        made[(..., *part.slices)] = predict(
            predictor,
            volume[around.slices],
            origin=around.start,
            shape=volume.shape,
            box=part,
            output=output,
        )
    return made


def check_blocks_equal_the_whole(kind, shape, block, dtype, forward_pixels, by_openvino):
    predictor = network(kind, by_openvino=by_openvino)
    predictor.forward_pixels = forward_pixels
    volume = volume_of(shape, dtype)
    made = blocked(predictor, volume, Box.of_shape(shape), block, PROBABILITIES)
    np.testing.assert_allclose(made, whole(predictor, volume), atol=1e-5)


@pytest.mark.parametrize("by_openvino", ENGINES)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("2")])
@pytest.mark.parametrize(
    ("shape", "block", "dtype"),
    [
        ((1, 61, 53), (1, 64, 64), np.uint8),  # smaller than a tile, primes, one section
        ((3, 163, 131), (2, 96, 64), np.uint8),  # primes
        ((2, 150, 97), (2, 83, 61), np.uint16),  # blocks off the stride
        ((2, 3, 190), (1, 3, 50), np.uint8),  # lower than the stride
        ((1, 1, 97), (1, 1, 40), np.uint8),  # a single row
        ((7, 37, 41), (5, 32, 32), np.uint8),  # more sections than neighbours on either side
    ],
)
def test_blocks_equal_whole_sections(kind, shape, block, dtype, by_openvino):
    check_blocks_equal_the_whole(kind, shape, block, dtype, 90**2, by_openvino)


@pytest.mark.parametrize("by_openvino", ENGINES)
@pytest.mark.parametrize(
    ("kind", "shape", "block", "forward"),
    [
        ("3-D", (23, 29, 19), (13, 16, 19), 26**3),  # primes, several tiles along every axis
        ("3-D", (1, 37, 31), (1, 16, 31), 26**3),  # one section
        ("3-D", (5, 1, 40), (2, 1, 20), 26**3),  # a single row
        ("3-D, pooled in-plane only", (11, 31, 29), (5, 17, 29), 6 * 26**2),
        ("3-D, anisotropic", (29, 61, 13), (13, 32, 13), 24 * 56 * 16),
        ("3-D, anisotropic", (3, 7, 5), (3, 7, 5), 64**3),  # smaller than a tile
    ],
)
def test_blocks_equal_the_whole_volume(kind, shape, block, forward, by_openvino):
    check_blocks_equal_the_whole(kind, shape, block, np.uint8, forward, by_openvino)


def test_labels_and_entropy_are_those_of_the_probabilities():
    predictor = network()
    predictor.forward_pixels = 90**2
    volume = volume_of((2, 101, 83))
    expected = whole(predictor, volume)
    box, block = Box.of_shape(volume.shape), (1, 64, 64)
    entropy = blocked(predictor, volume, box, block, ENTROPY)
    np.testing.assert_allclose(entropy, -(expected * np.log(expected)).sum(0), atol=1e-5)
    labels = blocked(predictor, volume, box, block, LABELS)
    assert set(np.unique(labels)) <= set(CLASSES)
    best = np.asarray(CLASSES, np.uint8)[expected.argmax(0)]
    top = np.sort(expected, axis=0)
    clear = top[-1] - top[-2] > 1e-4
    assert np.array_equal(labels[clear], best[clear])
    assert clear.mean() > 0.9


def test_a_box_inside_equals_the_same_voxels_of_whole_sections():
    predictor = network()
    predictor.forward_pixels = 90**2
    volume = volume_of((4, 190, 170))
    box = Box((1, 37, 11), (3, 141, 160))
    made = blocked(predictor, volume, box, (2, 200, 200), PROBABILITIES)
    expected = whole(predictor, volume)
    np.testing.assert_allclose(made[(..., *box.slices)], expected[(..., *box.slices)], atol=1e-5)


def test_a_network_that_is_not_local_sees_whole_sections():
    """Else it would show: the same network, said to be local, is not seamless."""
    predictor = network("2-D, whole sections")
    predictor.forward_pixels = 50**2
    volume = volume_of((2, 150, 97))
    expected, box = whole(predictor, volume), Box.of_shape(volume.shape)
    made = blocked(predictor, volume, box, (1, 64, 64), PROBABILITIES)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    predictor.module.footprint = replace(predictor.module.footprint, local=True)
    made = blocked(predictor, volume, box, (1, 64, 64), PROBABILITIES)
    assert np.abs(made - expected).max() > 1e-3


def test_a_section_that_does_not_fit_is_not_cut():
    whole_sections = network("2-D, whole sections")
    starved = Predictor(
        Starved(whole_sections.module, 96**2), CLASSES, 1 << 20, torch.device("cpu")
    )
    small, large = volume_of((3, 90, 96)), volume_of((3, 100, 100))
    made = blocked(starved, small, Box.of_shape(small.shape), (3, 90, 96), PROBABILITIES)
    np.testing.assert_allclose(made, whole(whole_sections, small), atol=1e-5)
    with pytest.raises(OutOfMemoryError, match="smallest forward"):
        blocked(starved, large, Box.of_shape(large.shape), (3, 100, 100), PROBABILITIES)


def test_a_smaller_halo_would_show():
    """The seam test can fail: with half the halo the blocks differ from whole sections."""
    predictor = network()
    footprint = predictor.module.footprint
    predictor.module.footprint = replace(footprint, halo=(0, 4, 4))
    predictor.forward_pixels = 50**2
    volume = volume_of((1, 90, 90))
    made = blocked(predictor, volume, Box.of_shape(volume.shape), (1, 40, 40), PROBABILITIES)
    assert np.abs(made - whole(predictor, volume)).max() > 1e-4


@pytest.mark.parametrize(
    ("extent", "start", "stop"),
    [(1, 0, 1), (5, 3, 5), (16, 0, 16), (97, 0, 97), (97, 3, 90), (1000, 1, 900), (1024, 500, 502)],
)
def test_every_way_to_cut_covers_once_and_keeps_its_halo(extent, start, stop):
    halo, stride = 32, 16
    ways = list(cuts(start, stop, extent=extent, halo=halo, stride=stride))
    assert len(ways[0]) == 1
    for made in ways:
        assert made[0].core_start == start
        assert made[-1].core_stop == stop
        padded = -(-extent // stride) * stride
        for a, b in pairwise(made):
            assert a.core_stop == b.core_start
        for span in made:
            assert span.start % stride == span.stop % stride == 0
            assert span.start == 0 or span.start <= span.core_start - halo
            assert span.stop == padded or span.stop >= span.core_stop + halo
    assert max(span.size for span in ways[-1]) <= 2 * halo + 2 * stride
    numbers = [len(made) for made in ways]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(
    "footprint",
    [
        unet_footprint(4, planar_levels=5),
        unet_footprint(2, planar_levels=1),
        unet_footprint(3, planar_levels=2),
    ],
)
def test_memory_of_a_forward_is_bounded(footprint):
    box = Box.of_shape((40, 2000, 3000))
    for tile in tiles(box, shape=box.stop, footprint=footprint, forward_pixels=1 << 20):
        assert prod(span.size for span in tile.axes) <= 1 << 20


def test_no_other_grid_of_tiles_shows_less():
    """Against every even grid whose tiles take no more voxels."""
    footprint, block, voxels = unet_footprint(2, planar_levels=1), (32, 100, 60), 200_000
    shape, box = (500, 500, 500), Box.at((100, 104, 200), block)
    made = list(tiles(box, shape=shape, footprint=footprint, forward_pixels=voxels))
    assert max(extent(tile) for tile in made) <= voxels

    def shown(cores):
        z, y, x = (
            -(-size // core) * (core + 2 * halo)
            for size, core, halo in zip(block, cores, footprint.halo, strict=True)
        )
        return z * y * x

    def largest(cores):
        return prod(core + 2 * halo for core, halo in zip(cores, footprint.halo, strict=True))

    steps = [range(s, n + s, s) for n, s in zip(block, footprint.stride, strict=True)]
    best = min(shown(cores) for cores in product(*steps) if largest(cores) <= voxels)
    assert sum(extent(tile) for tile in made) <= best


def extent(tile):
    return prod(span.size for span in tile.axes)


def test_a_short_axis_leaves_its_voxels_to_the_others():
    footprint, shape = unet_footprint(4, planar_levels=5), (50, 256, 5008)
    found = list(
        tiles(Box.of_shape(shape), shape=shape, footprint=footprint, forward_pixels=1 << 20)
    )
    assert {(tile.z.size, tile.y.size) for tile in found} == {(1, 256)}
    assert len(found) == 50 * 2


def test_sections_share_a_forward_where_they_fit():
    footprint, shape = unet_footprint(4, planar_levels=5), (20, 256, 200)
    found = tiles(Box.of_shape(shape), shape=shape, footprint=footprint, forward_pixels=1 << 18)
    assert [tile.z.size for tile in found] == [4, 4, 4, 4, 4]


class Starved(torch.nn.Module):
    """Runs out of memory above a size, as a small GPU does."""

    def __init__(self, inner, most):
        super().__init__()
        self.inner, self.most = inner, most
        self.footprint, self.dense_axes = inner.footprint, inner.dense_axes
        self.windows = inner.windows

    def forward(self, x, *windows):
        if x.numel() > self.most:
            raise torch.OutOfMemoryError("no room")
        return self.inner(x, *windows)


@pytest.mark.parametrize(
    ("kind", "shape", "most"),
    [("2-D", (2, 120, 120), 2 * 52**2), ("3-D", (20, 36, 36), 2 * 22**3)],
)
def test_out_of_memory_makes_tiles_smaller_and_goes_on(kind, shape, most):
    plain = network(kind)
    volume = volume_of(shape)
    starved = Predictor(Starved(plain.module, most), CLASSES, 2 * most, torch.device("cpu"))
    box = Box.of_shape(volume.shape)
    arguments = {"origin": (0, 0, 0), "shape": volume.shape, "box": box, "output": PROBABILITIES}
    made = predict(starved, volume, **arguments)
    np.testing.assert_allclose(made, whole(plain, volume), atol=1e-5)
    assert starved.forward_pixels <= most
    hopeless = Predictor(Starved(plain.module, 10), CLASSES, 1 << 20, torch.device("cpu"))
    with pytest.raises(OutOfMemoryError, match="fewer feature maps"):
        predict(hopeless, volume, **arguments)


@pytest.mark.parametrize("by_openvino", ENGINES)
@pytest.mark.parametrize("kind", ["2-D", "2.5-D", "3-D"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_blocks_equal_the_whole_on_the_scale_of_other_data(kind, dtype, by_openvino):
    predictor = network(kind, by_openvino=by_openvino)
    predictor.forward_pixels = 26**3
    volume = volume_of((5, 61, 53))
    other = (volume.astype(np.float32) * 0.5 + 11).astype(dtype)
    unit = unit_scale(other)
    low, high = (float(end) for end in (unit.min(), unit.max()))
    grey = GreyMap(1 / (high - low), -low / (high - low))
    expected = whole(predictor, unit * np.float32(grey.scale) + np.float32(grey.shift))
    with predictor.looking_at(grey):
        made = blocked(predictor, other, Box.of_shape(other.shape), (2, 32, 32), PROBABILITIES)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    # A volume on the network's own scale comes next, and is seen as it is.
    made = blocked(predictor, volume, Box.of_shape(volume.shape), (2, 32, 32), PROBABILITIES)
    np.testing.assert_allclose(made, whole(predictor, volume), atol=1e-5)


def test_tiles_of_one_value_are_not_taken_for_those_of_another_scale():
    predictor = network()
    volume = np.full((1, 64, 64), 7, np.uint8)
    box = Box.of_shape(volume.shape)
    arguments = {"origin": (0, 0, 0), "shape": volume.shape, "box": box, "output": PROBABILITIES}
    plain = predict(predictor, volume, **arguments)
    with predictor.looking_at(GreyMap(-3.0, 1.5)):
        mapped = predict(predictor, volume, **arguments)
        # A person's question about another volume comes in between.
        with predictor.looking_at(AS_IT_IS):
            assert np.array_equal(predict(predictor, volume, **arguments), plain)
        assert np.array_equal(predict(predictor, volume, **arguments), mapped)
    assert not np.allclose(mapped, plain)
    assert predictor.forwards == 2


def test_what_is_looked_at_is_forgotten_when_a_task_fails():
    predictor = network()
    with pytest.raises(KeyError), predictor.looking_at(GreyMap(2.0, 0.0)):
        raise KeyError
    assert predictor.grey is AS_IT_IS


@pytest.mark.parametrize("grey", [AS_IT_IS, GreyMap(1.25, -0.125)])
def test_uint8_goes_to_the_device_unscaled_with_the_same_value(grey):
    predictor = network()
    raw = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    with predictor.looking_at(grey):
        assert np.array_equal(predictor.tensor(raw).numpy(), unit_scale(raw, grey))
    assert engine.default_device().type in {"cpu", "cuda"}
