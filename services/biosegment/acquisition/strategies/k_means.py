"""k-means."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from biosegment.acquisition.embedding_space import k_means
from biosegment.acquisition.strategies.base import Candidates, Choice, Strategy


class KMeans(Strategy):
    """The patches in the middle of k clusters.

    Section 2.3 of Rombaut, Roels and Saeys, "BioSegment: Active Learning segmentation for 3D
    electron microscopy imaging", after Bodó, Minier and Csató (2011): k clusters in the
    bottleneck embedding of what is not labelled, and of each the sample nearest its centroid.
    """

    name: ClassVar[str] = "k_means"
    description: ClassVar[str] = (
        "The patches nearest the centroids of k clusters in the bottleneck embedding (Rombaut et "
        "al., section 2.3)."
    )
    embeddings: ClassVar[bool] = True

    def select(self, candidates: Candidates, k: int, rng: np.random.Generator) -> list[Choice]:
        """One of each cluster, the largest first; scores are negative distances."""
        rows = candidates.embeddings
        assert rows is not None
        if len(rows) == 0 or k < 1:
            return []
        cluster, squares = k_means(rows, k, rng)
        distance = np.sqrt(squares)
        apart = self.apart(candidates)
        nearest_first = np.argsort(distance, kind="stable")
        chosen: list[int] = []
        for members in _largest_first(cluster):
            chosen += apart.keep(nearest_first[members[nearest_first]], 1)
        # Where the middle of a cluster overlaps that of another throughout.
        chosen += apart.keep(nearest_first, k - len(chosen))
        return [Choice(index, -float(distance[index])) for index in chosen]


def _largest_first(cluster: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    """Which rows belong to each cluster that has any, the largest cluster first."""
    counts = np.bincount(cluster)
    order = np.argsort(-counts, kind="stable")
    return [cluster == index for index in order if counts[index]]
