"""Whether a volume may be taken as it is."""

from biosegment.client.errors import FailedPreconditionError
from biosegment.v1 import storage_pb2


def check_complete(volume: storage_pb2.Volume) -> storage_pb2.Volume:
    """Returns the volume if everything of it is there.

    Raises:
        FailedPreconditionError: Its writing has not finished: a job is at it, ended before, or
            gave up some of its blocks.
    """
    if volume.state != storage_pb2.VOLUME_STATE_READY:
        raise FailedPreconditionError(
            f"{volume.name} is not complete: the job that writes it has not finished, or has lost "
            "some of its blocks. `biosegment job list` shows which, and `biosegment job retry` "
            "does what is missing.",
            name=volume.name,
        )
    return volume
