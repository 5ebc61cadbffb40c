"""The search through a pyramid, against looking at everything."""

import itertools
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from biosegment.acquisition.coarse_to_fine import Level, Search
from biosegment.client.errors import JobCancelledError
from biosegment.client.geometry import ZYX, Box

ANISOTROPIC = ((1, 1, 1), (1, 2, 2), (1, 4, 4), (1, 8, 8), (2, 16, 16), (4, 32, 32))
ISOTROPIC = ((1, 1, 1), (2, 2, 2), (4, 4, 4), (8, 8, 8))
CHUNK = (4, 8, 8)


class Pyramid:
    """Means of means, as the platform makes them, with a count of what was read."""

    def __init__(self, finest: NDArray[np.float32], factors: Sequence[ZYX]) -> None:
        self.arrays = [finest]
        for before, after in itertools.pairwise(factors):
            array = self.arrays[-1].astype(np.float64)
            for axis, (a, b) in enumerate(zip(before, after, strict=True)):
                starts = np.arange(0, array.shape[axis], b // a)
                lengths = np.diff(starts, append=array.shape[axis])
                array = np.add.reduceat(array, starts, axis=axis)
                array /= lengths.reshape([-1 if n == axis else 1 for n in range(3)])
            self.arrays.append(array.astype(np.float32))
        self.levels = [
            Level(one, array.shape, CHUNK)  # type: ignore[arg-type]
            for one, array in zip(factors, self.arrays, strict=True)
        ]
        self.read_voxels = 0
        self._lock = threading.Lock()

    def read(self, box: Box) -> NDArray[np.float32]:
        assert box.within(self.arrays[box.level].shape, "the level")  # type: ignore[arg-type]
        with self._lock:
            self.read_voxels += box.voxels
        return self.arrays[box.level][box.slices]

    def search(self, region: Box, patch: ZYX, **kwargs: object) -> Search:
        return Search(self.levels, self.read, region, patch, **kwargs)  # type: ignore[arg-type]


def blobs(shape: ZYX, seed: int) -> NDArray[np.float32]:
    """Unsure places in a sure volume, as entropy maps look."""
    rng = np.random.default_rng(seed)
    made = rng.random(shape, np.float32) * 0.02
    for _ in range(30):
        z, y, x = (int(rng.integers(n)) for n in shape)
        made[z : z + 3, y : y + 20, x : x + 20] += rng.random() * 0.6
    return made


def brute(
    array: NDArray[np.float32], region: Box, patch: ZYX, count: int, taken: Sequence[Box] = ()
) -> list[tuple[float, ZYX]]:
    """Every patch of the grid in the region, highest mean first."""
    found = []
    grid = [range(n // p + 1) for n, p in zip(array.shape, patch, strict=True)]
    for place in itertools.product(*grid):
        z, y, x = (n * p for n, p in zip(place, patch, strict=True))
        box = Box.at((z, y, x), patch)
        if box.intersection(region) != box or any(box.intersection(other) for other in taken):
            continue
        found.append((-float(array[box.slices].mean(dtype=np.float64)), box.start))
    return [(-mean, start) for mean, start in sorted(found)[:count]]


@pytest.mark.parametrize(
    ("factors", "shape", "patch"),
    [
        (ANISOTROPIC, (9, 256, 320), (1, 32, 32)),
        (ANISOTROPIC, (5, 250, 317), (1, 16, 48)),
        # Divided by 8 only: groups are as long as both have in common.
        (ANISOTROPIC, (4, 250, 330), (1, 40, 24)),
        # Sections of a volume whose voxels are cubes: the pyramid mixes sections at once.
        (ISOTROPIC, (37, 130, 128), (1, 32, 32)),
        (ISOTROPIC, (40, 96, 100), (16, 16, 16)),
        (ISOTROPIC[:1], (6, 90, 90), (1, 16, 16)),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_best_patches_are_those_of_brute_force(factors, shape, patch, seed):
    array = blobs(shape, seed)
    region = Box((1, 20, 10), (shape[0], shape[1] - 9, shape[2]))
    taken = [Box.at((2, 70, 60), patch), Box.at((3, 33, 100), (1, 5, 5))]
    pyramid = Pyramid(array, factors)
    found = pyramid.search(region, patch, taken=taken).best(12)
    expected = brute(array, region, patch, 12, taken)
    assert found.exact
    assert [box.start for box in found.boxes] == [start for _, start in expected]
    assert found.means == pytest.approx([mean for mean, _ in expected], rel=1e-5)
    assert found.voxels_read == pyramid.read_voxels


def test_a_narrow_search_reads_less_and_says_that_it_may_have_missed_some():
    array = blobs((8, 1024, 1024), 3)
    whole = Box.of_shape((8, 1024, 1024))
    pyramid = Pyramid(array, ANISOTROPIC)
    wide = pyramid.search(whole, (1, 32, 32)).best(10)
    narrow = pyramid.search(whole, (1, 32, 32), frontier=12).best(10)
    assert wide.exact
    assert not narrow.exact
    assert narrow.voxels_read < wide.voxels_read / 2
    # What it found is real all the same, and most of it the best there is.
    assert narrow.means.sum() > 0.8 * wide.means.sum()
    real = [float(array[box.slices].mean()) for box in narrow.boxes]
    assert narrow.means == pytest.approx(real, rel=1e-4)


def test_few_chunks_are_read_where_few_may_be():
    pyramid = Pyramid(blobs((8, 512, 512), 4), ANISOTROPIC)
    found = pyramid.search(Box.of_shape((8, 512, 512)), (1, 32, 32), blocks=2).best(10)
    assert not found.exact
    assert len(found.boxes) == 10
    coarsest = pyramid.arrays[-1].size
    assert found.voxels_read <= coarsest + 2 * 2 * 4 * 4 * 64


def test_what_was_let_go_can_be_proved_worse():
    # One bright block: nothing outside of it can compete, however much is let go.
    array = np.zeros((1, 256, 256), np.float32)
    array[0, 64:128, 64:128] = 0.5
    pyramid = Pyramid(array, ANISOTROPIC[:4])
    found = pyramid.search(Box.of_shape((1, 256, 256)), (1, 8, 8), frontier=4).best(8)
    assert found.exact
    assert (found.means == 0.5).all()


def test_a_region_without_a_patch_of_the_grid_has_none():
    pyramid = Pyramid(blobs((2, 64, 64), 0), ANISOTROPIC[:3])
    found = pyramid.search(Box((0, 20, 0), (2, 40, 64)), (1, 16, 32)).best(5)
    assert (found.boxes, found.exact, found.voxels_read) == ([], True, 0)


def test_it_stops_when_told_and_fails_when_reading_does():
    pyramid = Pyramid(blobs((8, 256, 256), 0), ANISOTROPIC)

    def stop() -> None:
        raise JobCancelledError("Stop.")

    def broken(box: Box) -> NDArray[np.float32]:
        raise OSError("the store is away")

    whole = Box.of_shape((8, 256, 256))
    with pytest.raises(JobCancelledError):
        pyramid.search(whole, (1, 32, 32), check=stop).best(5)
    with pytest.raises(OSError, match="away"):
        Search(pyramid.levels, broken, whole, (1, 32, 32)).best(5)
