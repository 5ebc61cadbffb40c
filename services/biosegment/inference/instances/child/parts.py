"""What the steps leave for each other, as objects of the store, one per block and step."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.stubs import SyncStubs
from biosegment.inference.instances.child.measure import Pieces
from biosegment.inference.instances.child.record import Record
from biosegment.runtime.objects import Objects

LABEL, BEYOND, JOIN, FINAL, MEASURE = "label", "beyond", "join", "final", "measure"
_CLASSES = "classes"


def _packed(**arrays: NDArray[Any]) -> bytes:
    memory = io.BytesIO()
    np.savez_compressed(memory, **arrays)  # type: ignore[arg-type]  # a stub's mistake
    return memory.getvalue()


def _unpacked(data: bytes) -> Record:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


class Parts:
    """The intermediate objects of one job. Written twice they are the same."""

    def __init__(self, stubs: SyncStubs, name: str) -> None:
        """Takes what all of their names begin with, projects/p/objects/… ."""
        self._objects = Objects(stubs, name)

    def write(self, step: str, block: int, **arrays: NDArray[Any]) -> None:
        """Stores what a step made of a block."""
        self._objects.write(f"{step}/{block}", _packed(**arrays))

    def read(self, step: str, block: int) -> Record:
        """What a step made of a block.

        Raises:
            NotFoundError: It is not there.
        """
        return _unpacked(self._objects.read(f"{step}/{block}"))

    def every(self, step: str, blocks: int) -> Iterator[Record]:
        """What a step made of each block, in order."""
        keys = (f"{step}/{block}" for block in range(blocks))
        return (_unpacked(data) for data in self._objects.read_all(keys))

    def write_pieces(self, block: int, pieces: Pieces) -> None:
        """Stores the measurements of a block."""
        fields = {name: getattr(pieces, name) for name in Pieces.__slots__}
        self.write(MEASURE, block, **fields)

    def every_pieces(self, blocks: int) -> Iterator[Pieces]:
        """The measurements of each block, in order."""
        return (Pieces(**found) for found in self.every(MEASURE, blocks))

    def write_classes(self, classes: NDArray[np.uint8], dropped: int) -> None:
        """Stores the classes of the instances, and how many were dropped."""
        self._objects.write(_CLASSES, _packed(classes=classes, dropped=np.array(dropped)))

    def classes(self) -> tuple[NDArray[np.uint8], int]:
        """What ``write_classes`` stored.

        Raises:
            NotFoundError: It is not there.
        """
        found = _unpacked(self._objects.read(_CLASSES))
        return found["classes"], int(found["dropped"])

    def delete(self) -> None:
        """Removes all of them."""
        self._objects.delete_all()
