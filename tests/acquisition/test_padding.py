"""No patch of padding is ever proposed, whatever finds the candidates."""

import asyncio

import numpy as np
import pytest

from biosegment.acquisition.candidates import draw_pool, generator
from biosegment.acquisition.contrast import padding
from biosegment.client.geometry import Box
from biosegment.client.stubs import SyncStubs
from tests.acquisition.acquisition_kit import RAW, SHAPE, TRAINING_HALF, open_kit
from tests.acquisition.test_coarse_to_fine import ISOTROPIC, Pyramid, blobs

PATCH = (1, 16, 16)
INSIDE = Box((0, 16, 20), (4, 48, 100))


def padded(value, inside=INSIDE):
    """Noise inside, one value around it."""
    raw = np.full(SHAPE, value, np.float32)
    noise = np.random.default_rng(1).random(inside.shape, np.float32)
    raw[inside.slices] = noise
    return raw


async def shares(kit, boxes):
    def ask():
        with SyncStubs(kit.connection) as stubs:
            found = padding(stubs, RAW, lambda: None)
            return None if found is None else found(boxes).tolist()

    return await asyncio.to_thread(ask)


@pytest.mark.parametrize("value", [0.0, 0.7, np.nan])
async def test_a_round_proposes_no_padding(tmp_path, value):
    raw = padded(value)
    async with open_kit(tmp_path, raw) as kit:
        await kit.start(initial_patches=12, pool_patches=40, budget_patches=20)
        await kit.advance()
        result = await kit.rank()
        assert len(result.patches) == 12
        for patch in result.patches:
            shown = raw[Box.from_proto(patch.box).slices]
            assert not np.isnan(shown).any()
            assert len(np.unique(shown)) == shown.size


async def test_the_share_of_padding_counts_what_reaches_out_of_the_patch(tmp_path):
    async with open_kit(tmp_path, padded(0.0)) as kit:
        boxes = [Box.at((0, y, x), PATCH) for y, x in ((20, 30), (0, 0), (8, 30), (20, 12))]
        # Half a patch lies above the picture, and half beside it: less than a square of it alone.
        assert await shares(kit, boxes) == [0.0, 1.0, 0.5, 0.5]


async def test_nothing_is_read_of_a_volume_without_padding(tmp_path):
    async with open_kit(tmp_path) as kit:
        assert await shares(kit, []) is None


async def test_a_region_of_padding_has_no_room_and_says_so(tmp_path):
    raw = padded(0.3, Box((0, 64, 0), (4, 128, 128)))
    async with open_kit(tmp_path, raw) as kit:
        await kit.start()
        await kit.advance()
        with pytest.raises(Exception, match="all that fits is labelled or padding"):
            await kit.rank()


def of(gone):
    """What tells how much of a patch is in a mask."""
    return lambda boxes: np.array([gone[box.slices].mean() for box in boxes])


def test_patches_with_some_padding_make_up_for_what_is_missing():
    gone = np.ones((4, 64, 128), bool)
    gone[:, :20, :24] = False
    found = draw_pool(TRAINING_HALF, PATCH, 2000, generator(1, 1, 1), padding=of(gone))
    shares_ = of(gone)(found)
    clean = int((shares_ == 0).sum())
    assert 170 <= clean <= 4 * 5 * 9
    assert not shares_[:clean].any()
    assert 0 < shares_[clean:].max() <= 0.5


def test_a_volume_without_padding_has_the_pool_that_it_had():
    plain = draw_pool(TRAINING_HALF, PATCH, 30, generator(1, 1, 1))
    nothing = np.zeros((4, 64, 128), bool)
    assert draw_pool(TRAINING_HALF, PATCH, 30, generator(1, 1, 1), padding=of(nothing)) == plain


def test_a_search_passes_padding_over_and_reads_no_more_of_it_than_it_must():
    shape = (16, 64, 64)
    values = blobs(shape, 3)
    gone = np.zeros(shape, bool)
    gone[:, :, 32:] = True
    # A network is least sure where it has never seen anything like it.
    values[gone] += 0.5
    asked = []

    def share(boxes):
        asked.extend(boxes)
        return of(gone)(boxes)

    region = Box.of_shape(shape)
    pyramid = Pyramid(values, ISOTROPIC)
    found = pyramid.search(region, (4, 8, 8), padding=share).best(6)
    left = Box((0, 0, 0), (16, 64, 32))
    expected = Pyramid(values, ISOTROPIC).search(left, (4, 8, 8)).best(6)
    assert found.boxes == expected.boxes
    np.testing.assert_allclose(found.means, expected.means)
    assert len(asked) < 4 * 8 * 8
