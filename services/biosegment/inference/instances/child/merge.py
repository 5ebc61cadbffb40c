"""Which fragments of all blocks make up which instance, and the final ids.

The only step that looks at the whole volume. It holds a few numbers for each fragment and each
pair of fragments that meet at a border between blocks, never a voxel.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.errors import FailedPreconditionError
from biosegment.inference.instances.child.record import Record

_MAX_IDS = (1 << 32) - 1
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Merged:
    """The instances.

    Attributes:
        finals: By fragment: its instance, uint32, 0 for none. Fragments are counted over all
            blocks in order.
        offsets: By block, and one more: its first fragment, which has the block's id 1.
        classes: By instance, from id 1 on: its class value.
        dropped: Instances dropped for their size.
    """

    finals: NDArray[np.uint32]
    offsets: Ints
    classes: NDArray[np.uint8]
    dropped: int

    def table(self, block: int) -> NDArray[np.uint32]:
        """Instances by a block's own ids, 0 for id 0."""
        part = self.finals[self.offsets[block] : self.offsets[block + 1]]
        return np.concatenate([np.zeros(1, np.uint32), part])


def merge(
    records: Iterable[Record], joins: Iterable[Ints], *, min_voxels: int, fill_holes: bool
) -> Merged:
    """Settles which fragments are one, which instances stay, and who gets the holes.

    Instances are numbered by their first fragment, so the ids do not depend on the order in which
    anything was worked on.

    Args:
        records: Of every block, in order.
        joins: Of every block, in order.
        min_voxels: Smaller instances become background, before holes are looked for.
        fill_holes: Whether background that does not touch the volume's border goes to the
            instance with which it shares most faces (of equals: the one with the lowest id).

    Raises:
        FailedPreconditionError: There are more instances than 32 bits can count.
    """
    nodes = _Nodes.gather(records, with_contacts=fill_holes)
    edges = _edges(nodes.offsets, joins)
    firm = edges[:, 2] == 1
    groups = _connected(len(nodes.sizes), np.concatenate([nodes.same, edges[firm, :2]]))
    groups = _adopt(groups, nodes.cored, edges[~firm])
    count = int(groups.max()) + 1 if len(groups) else 0
    # A group's fragments are all of one class, or all background.
    classes = np.zeros(count, np.uint8)
    classes[groups] = nodes.classes
    kept = (classes > 0) & (_summed(groups, nodes.sizes, count) >= min_voxels)
    instances = int(kept.sum())
    if instances > _MAX_IDS:
        raise FailedPreconditionError(
            f"There are {instances} instances, more than a volume of 32 bit ids can hold; drop "
            "small ones with min_voxels."
        )
    finals: Ints = (np.cumsum(kept) * kept)[groups].astype(np.int64)
    if fill_holes and len(finals):
        finals = _filled(finals, nodes, edges[:, :2])
    return Merged(
        finals=finals.astype(np.uint32),
        offsets=nodes.offsets,
        classes=classes[kept],
        dropped=int(((classes > 0) & ~kept).sum()),
    )


@dataclass(frozen=True, slots=True)
class _Nodes:
    """The fragments of all blocks, counted from 0.

    ``same`` are pairs that are one; ``contacts`` are rows of (fragment, fragment, faces).
    """

    offsets: Ints
    classes: NDArray[np.uint8]
    sizes: Ints
    touches: NDArray[np.bool_]
    cored: NDArray[np.bool_]
    same: Ints
    contacts: Ints

    @classmethod
    def gather(cls, records: Iterable[Record], *, with_contacts: bool) -> "_Nodes":
        offsets, parts = [0], []
        same, contacts = [np.empty((0, 2), np.int64)], [np.empty((0, 3), np.int64)]
        for made in records:
            count = len(made["classes"]) - 1
            cored = np.arange(1, count + 1) <= int(made["cores"])
            parts.append((made["classes"][1:], made["sizes"][1:], made["touches"][1:], cored))
            first = offsets[-1] - 1
            same.append(made["same"] + first)
            if with_contacts:
                contacts.append(made["contacts"] + [first, first, 0])
            offsets.append(offsets[-1] + count)
        classes, sizes, touches, cored = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        return cls(
            offsets=np.array(offsets, np.int64),
            classes=classes,
            sizes=sizes,
            touches=touches,
            cored=cored,
            same=np.concatenate(same),
            contacts=np.concatenate(contacts),
        )


def _edges(offsets: Ints, joins: Iterable[Ints]) -> Ints:
    """Rows of (fragment, fragment, 1 if certain, voxels)."""
    rows = [np.empty((0, 4), np.int64)]
    for block, found in enumerate(joins):
        own = offsets[block] + found[:, 0] - 1
        other = offsets[found[:, 1]] + found[:, 2] - 1
        rows.append(np.stack([own, other, found[:, 3], found[:, 4]], axis=1))
    return np.concatenate(rows)


def _connected(count: int, pairs: Ints) -> Ints:
    """By node its group; groups are numbered in the order of their first nodes."""
    if count == 0:
        return np.empty(0, np.int64)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), np.uint8)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, found = connected_components(graph, directed=False)
    return _in_order(found)


def _in_order(groups: NDArray[Any]) -> Ints:
    """The same groups, numbered in the order of their first nodes."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    ordered: Ints = rank[inverse]
    return ordered


def _adopt(groups: Ints, cored: NDArray[np.bool_], edges: Ints) -> Ints:
    """Gives parts that no core reached to the group with which they overlap most.

    Kruskal's way: the largest overlap first, never joining two groups that both have a core. So
    every part that is connected to some core ends with one, and no two cores ever become one.
    """
    if not len(edges):
        return groups
    count = int(groups.max()) + 1
    has_core = np.zeros(count, bool)
    has_core[groups[cored]] = True
    ends = np.sort(groups[edges[:, :2]], axis=1)
    open_ = (ends[:, 0] != ends[:, 1]) & ~(has_core[ends[:, 0]] & has_core[ends[:, 1]])
    pairs, inverse = np.unique(ends[open_], axis=0, return_inverse=True)
    overlap = _summed(inverse.reshape(-1), edges[open_, 3], len(pairs))
    nodes, ends_of = np.unique(pairs, return_inverse=True)
    parent, seeded = list(range(len(nodes))), has_core[nodes].tolist()

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    order = np.argsort(-overlap, kind="stable")
    for a, b in ends_of.reshape(pairs.shape)[order].tolist():
        low, high = sorted((root(a), root(b)))
        if low != high and not (seeded[low] and seeded[high]):
            parent[high] = low
            seeded[low] = seeded[low] or seeded[high]
    adopted = np.arange(count)
    adopted[nodes] = nodes[[root(node) for node in range(len(nodes))]]
    return _in_order(adopted[groups])


def _filled(finals: Ints, nodes: _Nodes, same: Ints) -> Ints:
    """By fragment its instance, where enclosed background has one too.

    Args:
        finals: By fragment its instance, 0 for background and what was dropped into it.
        nodes: The fragments.
        same: Pairs of fragments that name the same voxels.
    """
    wet = finals == 0
    pairs = np.concatenate([same, nodes.contacts[:, :2]])
    water = _connected(len(finals), pairs[wet[pairs].all(axis=1)])
    count = int(water.max()) + 1
    reaches_out = np.zeros(count, bool)
    reaches_out[water[wet & nodes.touches]] = True
    a, b, faces = nodes.contacts.T
    shore = wet[a] != wet[b]
    inside, around = np.where(wet[a], a, b)[shore], np.where(wet[a], b, a)[shore]
    meetings, inverse = np.unique(
        np.stack([water[inside], finals[around]], axis=1), axis=0, return_inverse=True
    )
    shared = _summed(inverse.reshape(-1), faces[shore], len(meetings))
    # The last one written stays: the most faces, and of equals the lowest id.
    order = np.lexsort((-meetings[:, 1], shared))
    owner = np.zeros(count, np.int64)
    owner[meetings[order, 0]] = meetings[order, 1]
    owner[reaches_out] = 0
    filled: Ints = np.where(wet, owner[water], finals)
    return filled


def _summed(groups: Ints, values: Ints, count: int) -> Ints:
    total = np.zeros(count, np.int64)
    np.add.at(total, groups, values)
    return total
