"""The pool: random patches of a region, the same ones whenever a round is ranked again."""

from collections.abc import Sequence
from math import prod

import numpy as np

from biosegment.acquisition.contrast import MOST, Shares
from biosegment.acquisition.overlap import corners, free_of
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.geometry import ZYX, Box

_TRIES, _TRIES_IN_PADDING = 8, 32


def generator(seed: int, round_index: int, use: int) -> np.random.Generator:
    """The random numbers of one use in one round of a campaign.

    Args:
        seed: The campaign's; any 64-bit integer.
        round_index: The round's, from 1.
        use: Tells one use from another.
    """
    return np.random.default_rng([seed & (1 << 64) - 1, round_index, use])


def draw_pool(
    region: Box,
    patch: ZYX,
    count: int,
    rng: np.random.Generator,
    *,
    taken: Sequence[Box] = (),
    max_overlap: float = 0.0,
    padding: Shares | None = None,
) -> list[Box]:
    """Draws different patches of a region at random, none of them taken already.

    Patches without any padding come first; those of at most half make up for what is missing.

    Args:
        region: Where they may lie, level 0.
        patch: Their extent, (z, y, x).
        count: How many; fewer come back where there is no room for more.
        rng: Decides.
        taken: Boxes proposed before.
        max_overlap: Fraction of a patch that may lie in any one of them.
        padding: Tells how much of a patch is padding; None where there is none.

    Raises:
        InvalidArgumentError: The region is smaller than a patch.
    """
    check_fits(region, patch)
    rooms = [n - p + 1 for n, p in zip(region.shape, patch, strict=True)]
    places = prod(rooms)
    kept: list[Box] = []
    partly: list[Box] = []
    seen: set[int] = set()
    for _ in range(_TRIES if padding is None else _TRIES_IN_PADDING):
        drawn = rng.choice(places, size=min(places, 2 * count), replace=False)
        new = [int(place) for place in drawn if int(place) not in seen]
        seen.update(new)
        boxes = [Box.at(_start(region, rooms, place), patch) for place in new]
        free = free_of(corners(boxes), corners(taken), max_overlap)
        apart = [box for box, is_free in zip(boxes, free, strict=True) if is_free]
        while apart and len(kept) < count:
            # No more than are wanted, for what is told of padding has to be read.
            some, apart = apart[: count - len(kept)], apart[count - len(kept) :]
            shares = np.zeros(len(some)) if padding is None else padding(some)
            kept += [box for box, share in zip(some, shares, strict=True) if share == 0.0]
            partly += [box for box, share in zip(some, shares, strict=True) if 0.0 < share <= MOST]
        if len(kept) >= count or len(seen) == places:
            break
    return (kept + partly)[:count]


def check_fits(region: Box, patch: ZYX) -> None:
    """Raises InvalidArgumentError if no patch fits into the region."""
    if any(p > n for p, n in zip(patch, region.shape, strict=True)):
        wanted, there = (" × ".join(map(str, extent)) for extent in (patch, region.shape))
        raise InvalidArgumentError(
            f"A patch of {wanted} voxels (z, y, x) does not fit into the region {region}, which "
            f"has {there}; take a smaller patch or a larger region.",
            field="patch",
        )


def _start(region: Box, rooms: list[int], place: int) -> ZYX:
    z, rest = divmod(place, rooms[1] * rooms[2])
    y, x = divmod(rest, rooms[2])
    return region.start[0] + z, region.start[1] + y, region.start[2] + x
