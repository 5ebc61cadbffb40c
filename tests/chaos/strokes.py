"""Somebody who paints all the while."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biosegment.client import Client, arrays
from biosegment.client.connection import Connection
from biosegment.client.errors import DomainError
from biosegment.client.geometry import Box
from biosegment.client.label_values import AS_PAINTED

_PAUSE_SECONDS = 0.3
_PATCH = 16


@dataclass(frozen=True, slots=True)
class Stroke:
    """A commit that was acknowledged.

    Attributes:
        name: As the registry answered.
        box: Its voxels.
        mask: 0, 1, cleared or left as it was, of the box's shape.
    """

    name: str
    box: Box
    mask: NDArray[np.uint8]


class Painter:
    """A thread that commits random masks to a data set until it is stopped.

    Attributes:
        acknowledged: What was answered, in order.
        refused: Commits that were not; they may be in the log or not.
    """

    def __init__(self, connection: Path, dataset: str, shape: tuple[int, int, int], seed: int):
        self.acknowledged: list[Stroke] = []
        self.refused = 0
        self._connection = connection
        self._dataset = dataset
        self._shape = shape
        self._random = np.random.default_rng(seed)
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends, and raises what went wrong in an unexpected way."""
        self._stopping.set()
        self._thread.join(120)
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            with Client(Connection.load(self._connection)) as client:
                while not self._stopping.wait(_PAUSE_SECONDS):
                    self._commit(client)
        except Exception as error:  # noqa: BLE001 - raised by stop
            self._failure = error

    def _commit(self, client: Client) -> None:
        start = [
            int(self._random.integers(0, n - s))
            for n, s in zip(self._shape, (1, _PATCH, _PATCH), strict=True)
        ]
        box = Box.at((start[0], start[1], start[2]), (1, _PATCH, _PATCH))
        values = np.array([0, 1, arrays.CLEARED, arrays.NOT_LABELLED], np.uint8)
        mask = self._random.choice(values, box.shape)
        try:
            for commit in client.commit(
                self._dataset, box, mask, label_map=AS_PAINTED, tool="chaos", seconds=1.0
            ):
                self.acknowledged.append(Stroke(commit.name, box, mask))
        except DomainError as error:
            if not error.retryable:
                raise
            self.refused += 1
            time.sleep(_PAUSE_SECONDS)
