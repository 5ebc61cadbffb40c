"""What every task in the child opens first: stubs, network, raw volume."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from biosegment.client.connection import Connection
from biosegment.client.stubs import SyncStubs
from biosegment.inference.child import heap, model
from biosegment.inference.child.predict import Predictor
from biosegment.inference.forwards import Forwards
from biosegment.nets.intensity import check_dtype
from biosegment.nets.picture import Picture
from biosegment.runtime.arrays import VolumeArray
from biosegment.runtime.child import when_idle
from biosegment.v1 import registry_pb2


@dataclass(frozen=True, slots=True)
class Session:
    """An open data set with a network to look at it.

    Attributes:
        stubs: Blocking stubs.
        predictor: The network, looking at the raw volume.
        raw: The data set's raw volume.
        picture: Its voxels as the network is to see them.
    """

    stubs: SyncStubs
    predictor: Predictor
    raw: VolumeArray
    picture: Picture


@contextmanager
def opened(
    connection: str, *, dataset: str, version: str, forwards: Forwards, cache_bytes: int = 0
) -> Iterator[Session]:
    """Opens a data set and a model version.

    Args:
        connection: Path of the connection file.
        dataset: projects/p/datasets/d
        version: projects/p/models/m/versions/v
        forwards: How networks are run.
        cache_bytes: Of raw chunks that are kept for another read.

    Raises:
        NotFoundError: One of them does not exist.
        FailedPreconditionError: The volume is not complete or of a type that networks cannot
            take, or the weights are damaged.
    """
    try:
        with SyncStubs(Connection.load(Path(connection))) as stubs:
            answer = stubs.registry.GetDataset(registry_pb2.GetDatasetRequest(name=dataset))
            volume = answer.dataset.raw_volume
            raw = VolumeArray.open(stubs, volume, cache_bytes=cache_bytes).ready()
            check_dtype(raw.dtype, raw.volume.name)
            with model.looking_at(stubs, version, raw, forwards=forwards) as predictor:
                yield Session(stubs, predictor, raw, Picture.of(stubs, raw))
    finally:
        # The process lives on, and others want the memory; the next run of blocks, that comes in
        # a moment, wants it too.
        when_idle(_give_back)


def _give_back() -> None:
    model.give_back()
    heap.give_back()
