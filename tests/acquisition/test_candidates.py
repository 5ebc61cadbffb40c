"""The pool: repeatable, different patches, inside, and clear of what is taken."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biosegment.acquisition.candidates import draw_pool, generator
from biosegment.acquisition.overlap import Apart, corners, covered
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import Box

REGION = Box((2, 10, 20), (6, 110, 220))
PATCH = (1, 16, 32)


def test_the_same_seed_and_round_give_the_same_pool():
    first = draw_pool(REGION, PATCH, 50, generator(7, 1, 1))
    assert first == draw_pool(REGION, PATCH, 50, generator(7, 1, 1))
    assert first != draw_pool(REGION, PATCH, 50, generator(7, 2, 1))
    assert first != draw_pool(REGION, PATCH, 50, generator(8, 1, 1))


def test_any_64_bit_seed_will_do():
    assert draw_pool(REGION, PATCH, 5, generator(-1, 1, 1))
    assert draw_pool(REGION, PATCH, 5, generator(2**63 - 1, 1, 1))


def test_patches_are_different_and_inside():
    pool = draw_pool(REGION, PATCH, 300, generator(0, 1, 1))
    assert len(set(pool)) == 300
    assert all(box.shape == PATCH and box.intersection(REGION) == box for box in pool)


def test_every_place_is_found_in_a_small_region():
    region = Box.of_shape((1, 17, 18))
    pool = draw_pool(region, (1, 16, 16), 1000, generator(0, 1, 1))
    assert sorted(box.start for box in pool) == [(0, y, x) for y in (0, 1) for x in (0, 1, 2)]


def test_taken_places_are_left_out():
    taken = [Box.at((2, 10, 20 + 64 * n), (1, 100, 32)) for n in range(3)]
    pool = draw_pool(REGION, PATCH, 400, generator(0, 1, 1), taken=taken)
    assert len(pool) == 400
    assert all(box.intersection(other) is None for box in pool for other in taken)
    halved = draw_pool(REGION, PATCH, 400, generator(0, 1, 1), taken=taken, max_overlap=0.5)
    shares = [covered(corners([box]), corners([other])[0])[0] for box in halved for other in taken]
    assert 0 < max(shares) <= 0.5


def test_nothing_is_left_when_all_is_taken():
    assert draw_pool(REGION, PATCH, 10, generator(0, 1, 1), taken=[REGION]) == []


def test_a_pool_in_a_huge_region_costs_no_more():
    region = Box.of_shape((100_000, 1_000_000, 1_000_000))
    assert len(draw_pool(region, (1, 128, 128), 100, generator(0, 1, 1))) == 100


def test_a_region_smaller_than_the_patch_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"1 × 16 × 300 .* 4 × 100 × 200"):
        draw_pool(REGION, (1, 16, 300), 10, generator(0, 1, 1))


@given(st.integers(0, 2**32), st.floats(0, 0.9))
def test_the_chosen_stay_apart(seed, max_overlap):
    rng = np.random.default_rng(seed)
    boxes = draw_pool(Box.of_shape((2, 40, 40)), (1, 16, 16), 30, rng)
    chosen = Apart(boxes, boxes[-2:], max_overlap).keep(range(len(boxes)), 8)
    kept = corners([boxes[n] for n in chosen])
    for n, box in enumerate(corners([*boxes[-2:], *(boxes[n] for n in chosen)])):
        others = np.delete(kept, n - 2, axis=0) if n >= 2 else kept
        assert np.all(covered(others, box) <= max_overlap)
