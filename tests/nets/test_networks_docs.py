"""docs/networks.md names what there is, and its halos are those of the networks."""

import re
from math import prod
from pathlib import Path

from biosegment.client.geometry import Box
from biosegment.inference.child.tiles import tiles
from biosegment.nets import catalog
from biosegment.nets.footprint import unet_footprint

DOCS = (Path(__file__).parents[2] / "docs" / "networks.md").read_text()


def test_every_architecture_and_parameter_is_described():
    known = [*catalog._UNETS, *catalog._TORCHVISION]
    assert not [made.name for made in known if f"`{made.name}`" not in DOCS]
    assert not {name for made in known for name in made.parameters if f"`{name}`" not in DOCS}


def test_the_halos_are_true():
    rows = re.findall(r"\| 3-D, `levels=(\d)`, `planar_levels=(\d)` \| (.+) \|", DOCS)
    assert len(rows) == 5
    for levels, planar, halo in rows:
        found = unet_footprint(int(levels), planar_levels=int(planar)).halo
        assert ", ".join(map(str, found)) == halo
    assert unet_footprint(4, planar_levels=5).halo == (0, 96, 96)


def test_the_shares_that_tiles_keep_are_true():
    rows = re.findall(r"\| `levels=(\d)` \| (\d+) % \| (\d+) % \|", DOCS)
    assert len(rows) == 2
    for levels, *shares in rows:
        footprint = unet_footprint(int(levels), planar_levels=1)
        for share, voxels in zip(shares, (1 << 22, 1 << 24), strict=True):
            block = Box.at((960, 960, 960), (64, 768, 768))
            cut = tiles(block, shape=(2000,) * 3, footprint=footprint, forward_pixels=voxels)
            shown = sum(prod(span.size for span in tile.axes) for tile in cut)
            assert round(100 * block.voxels / shown) == int(share)
