"""The first step: the fragments of one block."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.geometry import Box
from biosegment.inference.instances.child.fragments import Fragments, components
from biosegment.inference.instances.child.overlap import extended
from biosegment.inference.instances.child.split import split
from biosegment.inference.instances.recipe import Recipe

# A hole is what water cannot leave through faces, whatever joins the voxels around it.
_FACES = 6


def label(read: Callable[[Box], NDArray[Any]], box: Box, recipe: Recipe) -> Fragments:
    """Labels a block.

    Where holes are to be filled background is labelled too, with ids after those of the classes,
    and fragments are what is connected by faces: one that is dropped later becomes background,
    and joins the background around it as such.

    Args:
        read: Gives the class values of a box, uint8, axes ZYX.
        box: The block.
        recipe: How.
    """
    wanted = np.zeros(256, np.uint8)
    wanted[list(recipe.classes)] = recipe.classes
    around = extended(box, recipe.shape)
    if recipe.split_nm > 0:
        made = split(lambda part: wanted[read(part)], around, recipe)
    else:
        made = _connected(wanted[read(around)], recipe)
    return _with_voids(made) if recipe.fill_holes else made


def _connected(values: NDArray[np.uint8], recipe: Recipe) -> Fragments:
    wholes = components(values, recipe.connectivity)
    if not recipe.fill_holes or recipe.connectivity == _FACES:
        return Fragments(values, wholes)
    labels = components(values, _FACES)
    by_id = np.zeros(int(labels.max()) + 1, np.uint32)
    by_id[labels.reshape(-1)] = wholes.reshape(-1)
    return Fragments(values, labels, by_id)


def _with_voids(made: Fragments) -> Fragments:
    empty = made.values == 0
    voids = components(empty.view(np.uint8), _FACES)
    labels = np.where(empty, voids + made.labels.max(), made.labels).astype(np.uint32, copy=False)
    return replace(made, labels=labels, firm=None if made.firm is None else made.firm | empty)
