from importlib.util import find_spec

import pytest
import torch
from torch import nn

from biosegment.client.errors import InvalidArgumentError
from biosegment.nets import catalog
from biosegment.nets.architectures import build
from biosegment.nets.backbones import BackboneNetwork
from biosegment.nets.footprint import Footprint
from biosegment.nets.network import other_heads

TORCHVISION = ("deeplabv3-mobilenet", "deeplabv3-resnet50", "fcn-resnet50", "lraspp-mobilenet")


class Pyramid(nn.Module):
    """What torchvision's networks look like from outside, in small: features by name."""

    def __init__(self, names):
        super().__init__()
        self.names = names
        self.low, self.high = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1)

    def forward(self, x):
        low = self.low(x).relu()
        return dict(zip(self.names, (low, self.high(low).relu()), strict=True))


class Pooled(nn.Module):
    """Adds the mean over the section to every place, as ASPP does."""

    def __init__(self, classes):
        super().__init__()
        self.last = nn.Conv2d(6, classes, 1)

    def forward(self, features):
        x = features if torch.is_tensor(features) else features["high"]
        return self.last(x + x.mean(dim=(2, 3), keepdim=True))


def small(names=("low", "high"), neighbours=0, classes=3):
    torch.manual_seed(0)
    body = nn.Module()
    body.backbone, body.classifier = Pyramid(names), Pooled(classes)
    footprint = Footprint((1, 4, 4), (0, 0, 0), neighbours, local=False)
    return BackboneNetwork(body, footprint, classes=classes, heads=("classifier.last",))


@pytest.mark.parametrize("names", [("low", "high"), ("low", "out")])
@pytest.mark.parametrize("neighbours", [0, 1])
def test_a_backbone_and_its_classifier_make_a_network(names, neighbours):
    network = small(names, neighbours).eval()
    x = torch.rand(2, 2 + 2 * neighbours, 16, 24)
    logits, embedding = network.forward_with_embedding(x)
    assert logits.shape == (2, 3, 2, 16, 24)
    assert embedding.shape == (2, network.embedding_size) == (2, 6)
    torch.testing.assert_close(network(x), logits)
    with other_heads(network, 1):
        assert network(x).shape == (2, 1, 2, 16, 24)
    torch.testing.assert_close(network(x), logits)


def test_networks_that_are_not_local_say_so():
    x = torch.rand(1, 1, 128, 32)
    far = x.clone()
    far[..., 120:, :] = 0
    for network in (
        small().eval(),
        build("unet2d-group", {"feature_maps": 2, "levels": 1}, 2).eval(),
    ):
        assert not network.footprint.local
        assert network.footprint.halo_in((5, 128, 32)) == (0, 128, 32)
        assert not torch.allclose(network(x)[..., :8, :], network(far)[..., :8, :], atol=1e-7)
    local = build("unet2d", {"feature_maps": 2, "levels": 1}, 2).eval()
    assert local.footprint.local
    torch.testing.assert_close(local(x)[..., :8, :], local(far)[..., :8, :])
    flagged = {made.name for made in catalog.describe() if not made.local}
    assert "unet2d-group" in flagged
    assert not flagged & {"unet2d", "unet2d-quarter", "unet3d", "unet3d-quarter"}


@pytest.mark.parametrize("size", [(1, 1), (4, 4)])
def test_group_normalisation_bears_a_single_pixel_at_the_bottleneck(size):
    for maps in (1, 2, 8):
        network = build("unet2d-group", {"feature_maps": maps, "levels": 2}, 2)
        assert network(torch.rand(1, 1, 4 * size[0], 4 * size[1])).isfinite().all()


def test_torchvision_is_on_offer_only_where_it_is_installed():
    offered = set(TORCHVISION) & set(catalog.ARCHITECTURES)
    if find_spec("torchvision"):
        assert offered == set(TORCHVISION)
        return
    assert not offered
    with pytest.raises(InvalidArgumentError, match="not installed here: pip install"):
        catalog.resolve("fcn-resnet50", {})


@pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_networks_train_and_predict(name):
    network = build(name, {"in_channels": 3}, 2).train()
    # As in training: a batch of two, one section each with its neighbours.
    loss = network(torch.rand(2, 3, 64, 64)).square().mean()
    loss.backward()
    assert all(p.grad is not None for p in network.get_submodule(network.heads[0]).parameters())
    network.eval()
    assert network(torch.rand(1, 4, 48, 64)).shape == (1, 2, 2, 48, 64)
    found = catalog.find(name)
    weights = sum(p.numel() for p in network.parameters())
    assert weights * 4 == pytest.approx(found.weight_bytes(found.defaults), rel=0.1)
    assert network.footprint == found.footprint({**found.defaults, "in_channels": 3})
