"""Typicality, for the first rounds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from biosegment.acquisition.embedding_space import Rows, k_means
from biosegment.acquisition.strategies.base import Candidates, Choice, Parameters, Strategy

_MOST_CLUSTERS = 500
_MOST_COMPARED = 2048
_CHUNK = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TypicalityParameters(Parameters):
    """Parameters of typicality.

    Attributes:
        neighbours: Nearest neighbours whose mean distance says how typical a patch is.
    """

    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {"neighbours": (1, 1000)}

    neighbours: int = 20


class Typicality(Strategy):
    """The most typical patch of each cluster that has no label yet.

    TypiClust of Hacohen, Dekel and Weinshall, "Active Learning on a Budget" (2022): all patches
    are put into as many clusters as there will be labels, at most 500; of the largest clusters
    without a label the patch with the smallest mean distance to its 20 nearest neighbours in the
    cluster is taken. Embeddings are brought to length 1, as there.
    """

    name: ClassVar[str] = "typicality"
    description: ClassVar[str] = (
        "The most typical patch of each of the largest clusters without a label, in the "
        "bottleneck embedding: for the first rounds (TypiClust, Hacohen et al., 2022)."
    )
    embeddings: ClassVar[bool] = True
    parameters_type: ClassVar[type[Parameters]] = TypicalityParameters

    def select(self, candidates: Candidates, k: int, rng: np.random.Generator) -> list[Choice]:
        """One of each cluster; scores are typicalities, 1 / mean distance."""
        assert isinstance(self.parameters, TypicalityParameters)
        assert candidates.embeddings is not None
        rows = _unit(candidates.embeddings)
        if len(rows) == 0 or k < 1:
            return []
        labelled = candidates.labelled_embeddings
        known = _unit(labelled) if labelled is not None else rows[:0]
        wanted = min(len(known) + k, _MOST_CLUSTERS)
        cluster, _ = k_means(np.concatenate((rows, known)), wanted, rng)
        apart = self.apart(candidates)
        typicality = np.zeros(len(rows))
        lines: list[list[int]] = []
        for members in _uncovered_first(cluster, len(rows)):
            typicality[members] = typicality_of(rows[members], self.parameters.neighbours, rng)
            lines.append(members[np.argsort(-typicality[members], kind="stable")].tolist())
        chosen: list[int] = []
        # Where there are fewer clusters than patches wanted, a cluster gives another one.
        while len(chosen) < k:
            before = len(chosen)
            for line in lines:
                chosen += apart.keep(line, min(1, k - len(chosen)))
            if len(chosen) == before:
                break
        return [Choice(index, float(typicality[index])) for index in chosen]


def typicality_of(rows: Rows, neighbours: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """1 / mean distance of each row to its nearest others, shape (n,); 0 for a row on its own.

    In a cluster of more than 2048 rows the neighbours are sought among a random 2048.
    """
    if len(rows) == 1:
        return np.zeros(1)
    drawn = np.arange(len(rows))
    if len(rows) > _MOST_COMPARED:
        drawn = np.sort(rng.choice(len(rows), _MOST_COMPARED, replace=False))
    others = rows[drawn]
    squares = (others**2).sum(axis=1)
    # Where each row is among the others, for it is no neighbour of itself.
    own = np.full(len(rows), -1)
    own[drawn] = np.arange(len(drawn))
    count = min(neighbours, len(others) - 1)
    found = np.empty(len(rows))
    for start in range(0, len(rows), _CHUNK):
        here = slice(start, start + _CHUNK)
        part = rows[here]
        apart = (part**2).sum(axis=1)[:, None] + squares - 2 * (part @ others.T)
        apart[np.flatnonzero(own[here] >= 0), own[here][own[here] >= 0]] = np.inf
        closest = np.partition(apart, count - 1, axis=1)[:, :count]
        found[here] = np.sqrt(np.maximum(closest, 0)).mean(axis=1)
    return 1.0 / np.maximum(found, 1e-6)


def _unit(rows: Rows) -> Rows:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), np.float32)


def _uncovered_first(cluster: NDArray[np.int64], candidates: int) -> list[NDArray[np.int64]]:
    """Candidates of each cluster: those with the fewest labels first, of these the largest."""
    size = np.bincount(cluster[:candidates], minlength=cluster.max() + 1)
    labels = np.bincount(cluster[candidates:], minlength=cluster.max() + 1)
    return [
        np.flatnonzero(cluster[:candidates] == index)
        for index in np.lexsort((-size, labels))
        if size[index]
    ]
