"""What the steps of a job open, kept open in the child from one run of blocks to the next."""

from functools import cached_property
from pathlib import Path

from biosegment.client.connection import Connection
from biosegment.client.stubs import SyncStubs
from biosegment.inference.instances.child.parts import Parts
from biosegment.inference.instances.recipe import Places
from biosegment.runtime.arrays import VolumeArray


class Session:
    """The volumes and objects of one job, opened when first asked for."""

    def __init__(self, connection: str, places: Places) -> None:
        self.stubs = SyncStubs(Connection.load(Path(connection)))
        self._places = places

    @cached_property
    def source(self) -> VolumeArray:
        """The label volume."""
        return VolumeArray.open(self.stubs, self._places.source).ready()

    @cached_property
    def fragments(self) -> VolumeArray:
        """The volume of block-local ids."""
        return VolumeArray.open(self.stubs, self._places.fragments)

    @cached_property
    def volume(self) -> VolumeArray:
        """The instance volume."""
        return VolumeArray.open(self.stubs, self._places.volume)

    @cached_property
    def parts(self) -> Parts:
        """The intermediate objects."""
        return Parts(self.stubs, self._places.parts)


_open: dict[tuple[str, Places], Session] = {}


def session(connection: str, places: Places) -> Session:
    """The session of a job. The child keeps one, of the job that it worked on last.

    Args:
        connection: Path of the connection file.
        places: Of the job.
    """
    key = (connection, places)
    if key not in _open:
        close()
        _open[key] = Session(connection, places)
    return _open[key]


def close() -> None:
    """Closes the session that is kept, if there is one."""
    while _open:
        _, old = _open.popitem()
        old.stubs.close()
