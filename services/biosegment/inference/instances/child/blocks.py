"""The steps that go block by block. Doing a block twice writes the same once more."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.errors import JobCancelledError
from biosegment.inference.instances.child.join import join
from biosegment.inference.instances.child.label import label
from biosegment.inference.instances.child.measure import measure
from biosegment.inference.instances.child.overlap import extended, owners
from biosegment.inference.instances.child.parts import BEYOND, FINAL, JOIN, LABEL
from biosegment.inference.instances.child.record import beyond, record
from biosegment.inference.instances.child.session import session
from biosegment.inference.instances.recipe import Places, Recipe
from biosegment.runtime.child import ChildContext, portable

_TABLES_KEPT = 64


def _each(context: ChildContext, blocks: list[int], work: Callable[[int], None]) -> None:
    """Works on blocks; reports {"block": index} of each, with "error" when it failed."""
    for block in blocks:
        context.check()
        try:
            work(block)
        except JobCancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - one block must not stop the others
            context.report({"block": block, "error": portable(error)})
        else:
            context.report({"block": block})


def label_blocks(
    context: ChildContext, *, connection: str, places: Places, recipe: Recipe, blocks: list[int]
) -> None:
    """First phase: the fragments of each block, under ids of its own."""
    job = session(connection, places)

    def work(block: int) -> None:
        box = recipe.grid[block]
        made = label(job.source.read, box, recipe)
        job.fragments.write(box, made.labels[tuple(slice(0, n) for n in box.shape)])
        job.parts.write(BEYOND, block, **beyond(made, box))
        summary = record(made, box, recipe.shape, contacts=recipe.fill_holes)
        job.parts.write(LABEL, block, **summary)

    _each(context, blocks, work)


def join_blocks(
    context: ChildContext, *, connection: str, places: Places, recipe: Recipe, blocks: list[int]
) -> None:
    """Second phase: which fragments of neighbouring blocks are one."""
    job = session(connection, places)

    def work(block: int) -> None:
        mine = job.parts.read(BEYOND, block)
        job.parts.write(JOIN, block, pairs=join(block, mine, recipe.grid, job.fragments.read))

    _each(context, blocks, work)


def number_blocks(
    context: ChildContext, *, connection: str, places: Places, recipe: Recipe, blocks: list[int]
) -> None:
    """Third phase: the final ids of each block, and its share of what is measured."""
    job = session(connection, places)

    @lru_cache(_TABLES_KEPT)
    def finals(block: int) -> NDArray[np.uint32]:
        found: NDArray[Any] = job.parts.read(FINAL, block)["ids"]
        return found.astype(np.uint32, copy=False)

    def work(block: int) -> None:
        box = recipe.grid[block]
        around = extended(box, recipe.shape)
        labels = job.fragments.read(around)
        for owner, part in owners(recipe.grid, around):
            place = part.relative_to(around.start).slices
            labels[place] = finals(owner)[labels[place]]
        job.volume.write(box, labels[tuple(slice(0, n) for n in box.shape)])
        job.parts.write_pieces(block, measure(labels, box, recipe.shape))

    _each(context, blocks, work)
