import pytest
import torch

from biosegment.client.errors import InvalidArgumentError
from biosegment.nets.architectures import build
from biosegment.nets.catalog import describe, find, resolve
from biosegment.nets.footprint import unet_footprint
from biosegment.nets.receptive import unet_reach


@pytest.mark.parametrize(("levels", "size"), [(1, 64), (2, 128)])
def test_the_reach_is_that_of_the_gradient(levels, size):
    """Average pooling and no ReLU make the gradient non-zero wherever the network looks."""
    torch.manual_seed(0)
    net = build("unet2d", {"feature_maps": 2, "levels": levels}, 2).eval().double()
    for n in range(levels):
        net.pools[n] = torch.nn.AvgPool2d(2)
    for block in [*net.encoder, net.bottleneck, *net.decoder]:
        block[2] = block[5] = torch.nn.Identity()
    before = after = 0
    middle = size // 2
    for pixel in range(middle, middle + 2**levels):
        x = torch.randn(1, 1, size, size, dtype=torch.float64, requires_grad=True)
        net(x)[0, 0, 0, middle, pixel].backward()
        (seen,) = torch.nonzero(x.grad[0, 0].abs().sum(0), as_tuple=True)
        before = max(before, middle - int(seen.min()))
        after = max(after, int(seen.max()) - (middle + 2**levels - 1))
    assert (before, after) == unet_reach([2] * levels, [1] * (levels + 1))


@pytest.mark.parametrize(("levels", "planar"), [(1, 0), (1, 1), (2, 1)])
def test_the_reach_of_a_volume_is_that_of_the_gradient_on_every_axis(levels, planar):
    torch.manual_seed(0)
    net = build("unet3d", {"feature_maps": 2, "levels": levels, "planar_levels": planar}, 2)
    net = net.eval().double()
    for n, pool in enumerate(net.pools):
        net.pools[n] = torch.nn.AvgPool3d(pool.kernel_size)
    for block in [*net.encoder, net.bottleneck, *net.decoder]:
        block[2] = block[5] = torch.nn.Identity()
    stride, halo = net.footprint.stride, net.footprint.halo
    size = [2 * (h + 2 * s) for h, s in zip(halo, stride, strict=True)]
    reached = [0, 0, 0]
    for voxel in range(max(stride)):
        place = [n // 2 + voxel % s for n, s in zip(size, stride, strict=True)]
        x = torch.randn(1, *size, dtype=torch.float64, requires_grad=True)
        net(x)[(0, 0, *place)].backward()
        for axis, seen in enumerate(torch.nonzero(x.grad[0], as_tuple=True)):
            first = size[axis] // 2
            last = first + stride[axis] - 1
            away = max(first - int(seen.min()), int(seen.max()) - last)
            reached[axis] = max(reached[axis], away)
    assert [-(-n // s) * s for n, s in zip(reached, stride, strict=True)] == list(halo)


def test_nothing_beyond_the_halo_changes_a_pixel():
    torch.manual_seed(1)
    net = build("unet2d", {"feature_maps": 2}, 2).eval()
    assert net.footprint == unet_footprint(4, planar_levels=5)
    halo, stride = net.footprint.halo[2], net.footprint.stride[2]
    assert halo % stride == 0
    size = 2 * halo + 2 * stride
    x = torch.randn(1, 1, size, size)
    core = slice(halo, size - halo)
    beyond = x.clone()
    # The core keeps `halo` known pixels on each side; one more row than that is changed.
    wide = torch.nn.functional.pad(x, (16, 16, 16, 16), value=0.3)
    other = torch.nn.functional.pad(beyond, (16, 16, 16, 16), value=-7.0)
    with torch.inference_mode():
        a, b = net(wide), net(other)
    inner = slice(core.start + 16, core.stop + 16)
    assert torch.equal(a[..., inner, inner], b[..., inner, inner])
    assert not torch.equal(a, b)


def test_the_quarter_network_has_a_quarter_of_the_feature_maps():
    quarter = build("unet2d-quarter", {}, 2)
    parameters = sum(p.numel() for p in quarter.parameters())
    assert 1_900_000 < parameters < 1_960_000  # 1.94 million, as published for this size
    assert quarter.embedding_size == 256
    assert quarter.footprint.stride == (1, 16, 16)
    offered = {found.name for found in describe()}
    assert offered >= {"unet2d", "unet2d-quarter", "unet2d-group", "unet3d", "unet3d-quarter"}


def test_embedding_is_the_mean_of_the_bottleneck():
    torch.manual_seed(2)
    net = build("unet2d", {"feature_maps": 2, "levels": 2}, 3).eval()
    x = torch.randn(2, 1, 16, 24)
    logits, embedding = net.forward_with_embedding(x)
    assert logits.shape == (2, 3, 1, 16, 24)
    assert embedding.shape == (2, net.embedding_size) == (2, 8)
    assert torch.allclose(embedding, net.embed(x))
    assert torch.allclose(logits, net(x))


def test_input_statistics_are_applied_and_travel_with_the_state():
    torch.manual_seed(3)
    net = build("unet2d", {"feature_maps": 2, "levels": 1}, 2).eval()
    x = torch.rand(1, 1, 8, 8)
    plain = net((x - 0.25) / 0.5)
    net.set_input_statistics(0.25, 0.5)
    assert torch.allclose(net(x), plain, atol=1e-6)
    assert float(net.state_dict()["input_mean"]) == 0.25


def test_dropout_only_drops_in_train_mode():
    torch.manual_seed(4)
    net = build("unet2d", {"feature_maps": 4, "levels": 1, "dropout": 0.5}, 2)
    x = torch.randn(1, 1, 16, 16)
    net.eval()
    assert torch.equal(net(x), net(x))
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.train()
    assert not torch.equal(net(x), net(x))


@pytest.mark.parametrize(
    ("architecture", "parameters", "classes", "words"),
    [
        ("vnet", {}, 2, "choose one of .*unet2d, unet2d-group"),
        ("unet2d", {"features": 3}, 2, "it has feature_maps, levels, in_channels, dropout"),
        ("unet2d", {"feature_maps": 2.5}, 2, "whole number"),
        ("unet2d", {"feature_maps": float("nan")}, 2, "must be a number"),
        ("unet2d", {"feature_maps": "many"}, 2, "must be a number"),
        ("unet2d", {"levels": 60}, 2, "between 1 and 6"),
        ("unet2d", {"in_channels": 4}, 2, "must be odd"),
        ("unet2d", {}, 1, "2 to 254 classes"),
    ],
)
def test_what_is_not_on_offer_is_refused(architecture, parameters, classes, words):
    with pytest.raises(InvalidArgumentError, match=words):
        build(architecture, parameters, classes)


def test_a_section_off_the_stride_is_refused():
    net = build("unet2d", {"feature_maps": 2, "levels": 2}, 2)
    with pytest.raises(InvalidArgumentError, match="multiples of 1 × 4 × 4, not 1 × 6 × 8"):
        net(torch.zeros(1, 1, 6, 8))


def test_embedding_of_a_volume_is_the_mean_of_the_bottleneck():
    torch.manual_seed(2)
    net = build("unet3d", {"feature_maps": 2, "levels": 2, "planar_levels": 1}, 3).eval()
    x = torch.randn(2, 4, 16, 24)
    logits, embedding = net.forward_with_embedding(x)
    assert logits.shape == (2, 3, 4, 16, 24)
    assert embedding.shape == (2, net.embedding_size) == (2, 8)
    assert torch.allclose(embedding, net.embed(x))
    assert torch.allclose(logits, net(x), atol=1e-6)


def test_more_planar_levels_than_levels_make_all_of_them_planar():
    net = build("unet3d", {"feature_maps": 2, "levels": 2, "planar_levels": 5}, 2)
    assert net.footprint == unet_footprint(2, planar_levels=2)
    assert net.footprint.stride == (1, 4, 4)
    assert net.footprint.halo == (2, 24, 24)


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [
        ("unet2d", {}),
        ("unet2d-quarter", {"levels": 2, "in_channels": 5}),
        ("unet3d-quarter", {}),
        ("unet3d-quarter", {"levels": 2, "planar_levels": 4}),
    ],
)
def test_what_the_catalogue_says_is_so(architecture, parameters):
    resolved = resolve(architecture, parameters)
    network = build(architecture, {**parameters, "feature_maps": 2}, 2)
    assert network.footprint == find(architecture).footprint(resolved)
    patch = find(architecture).patch(resolved)
    assert network.footprint.padded(patch) == patch
