"""Says where blocks are larger than was asked for."""

from biosegment.client.geometry import ZYX, shape_of
from biosegment.v1 import jobs_pb2


def whole_units(
    asked: jobs_pb2.SegmentSpec | jobs_pb2.InstancesSpec, taken: ZYX, shape: ZYX
) -> tuple[str, ...]:
    """That a block is another one than was asked for, and why, in a sentence; or nothing.

    Args:
        asked: The spec as it was asked for.
        taken: Extent of a block, (z, y, x).
        shape: Extent of the volume; to it all larger blocks are alike.
    """
    if not asked.HasField("block"):
        return ()
    wanted = shape_of(asked.block)
    if all(min(a, n) == min(b, n) for a, b, n in zip(wanted, taken, shape, strict=True)):
        return ()
    given, made = (" × ".join(map(str, extent)) for extent in (wanted, taken))
    sentence = (
        f"Blocks of {given} voxels (z, y, x) were asked for and are {made} voxels: they are "
        "rounded up to whole units of writing, so that no two workers write to the same one."
    )
    return (sentence,)
