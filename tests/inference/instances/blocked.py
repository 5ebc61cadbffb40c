"""The steps on arrays in memory, block by block, in a shuffled order, without a platform."""

import numpy as np

from biosegment.client.geometry import BlockGrid, Box
from biosegment.inference.instances.child.join import join
from biosegment.inference.instances.child.label import label
from biosegment.inference.instances.child.measure import measure, total
from biosegment.inference.instances.child.merge import merge
from biosegment.inference.instances.child.overlap import extended, owners
from biosegment.inference.instances.child.record import beyond, record
from biosegment.inference.instances.recipe import Recipe


def recipe(values, block, *, voxel_size=(1.0, 1.0, 1.0), classes=tuple(range(1, 254)), **more):
    grid = BlockGrid(Box.of_shape(values.shape), block)
    return Recipe(grid=grid, voxel_size=voxel_size, classes=classes, **more)


def run(values, how, seed=0):
    """Returns the instances, the merged fragments and the sums of the measurements."""
    grid, shape = how.grid, values.shape
    order = np.random.default_rng(seed).permutation(len(grid))
    parts, records, seen_beyond, joins = np.zeros(shape, np.uint32), {}, {}, {}
    for n in order:
        box = grid[n]
        made = label(lambda part: values[part.slices], box, how)
        parts[box.slices] = made.labels[tuple(slice(0, k) for k in box.shape)]
        records[n] = record(made, box, shape, contacts=how.fill_holes)
        seen_beyond[n] = beyond(made, box)
    for n in order:
        joins[n] = join(n, seen_beyond[n], grid, lambda part: parts[part.slices])
    merged = merge(
        [records[n] for n in range(len(grid))],
        [joins[n] for n in range(len(grid))],
        min_voxels=how.min_voxels,
        fill_holes=how.fill_holes,
    )
    final, pieces = np.full(shape, 99_999_999, np.uint32), []
    for n in order:
        box = grid[n]
        around = extended(box, shape)
        seen = np.empty(around.shape, np.uint32)
        for owner, part in owners(grid, around):
            place = part.relative_to(around.start).slices
            seen[place] = merged.table(owner)[parts[part.slices]]
        final[box.slices] = seen[tuple(slice(0, k) for k in box.shape)]
        pieces.append(measure(seen, box, shape))
    return final, merged, total(pieces, len(merged.classes))
