"""The plan of an evaluation."""

from collections.abc import Sequence

from biosegment.client import names
from biosegment.client.errors import FailedPreconditionError, InvalidArgumentError
from biosegment.client.geometry import shape_of
from biosegment.client.stubs import AsyncStubs
from biosegment.inference.subjects import look_up, ready_volume
from biosegment.v1 import jobs_pb2, types_pb2


async def plan(
    stubs: AsyncStubs, parent: str, asked: jobs_pb2.EvaluateSpec, section_bytes: int
) -> tuple[jobs_pb2.EvaluateSpec, Sequence[str]]:
    """Checks an evaluation; without a reference volume the data set's newest one is taken.

    Args:
        stubs: To reach registry and storage.
        parent: projects/p
        asked: The spec.
        section_bytes: Most that a section may take in a network that has to see all of it.

    Returns:
        The spec, and sentences for whoever uses the figures.

    Raises:
        InvalidArgumentError: A name or the box is wrong.
        NotFoundError: Version, data set or reference do not exist.
        FailedPreconditionError: They do not fit, or there is no reference.
        OutsideVolumeError: The box leaves the data set.
    """
    subject = await look_up(stubs, asked.version, asked.dataset)
    subject.check_sections(section_bytes)
    if names.project_of(asked.dataset) != parent:
        raise InvalidArgumentError(f"{asked.dataset} does not belong to {parent}.")
    spec = jobs_pb2.EvaluateSpec()
    spec.CopyFrom(asked)
    spec.version = subject.version
    if not spec.reference_volume:
        if not subject.dataset.reference_volumes:
            raise FailedPreconditionError(
                f"{spec.dataset} has no reference labels to measure against. Import some, or name "
                "a label volume.",
                name=spec.dataset,
            )
        spec.reference_volume = subject.dataset.reference_volumes[-1]
    names.parse(names.VOLUME, spec.reference_volume)
    if names.project_of(spec.reference_volume) != parent:
        raise InvalidArgumentError(f"{spec.reference_volume} does not belong to {parent}.")
    reference = await ready_volume(stubs, spec.reference_volume)
    extent = shape_of(reference.levels[0].shape)
    if (
        extent != subject.shape
        or reference.data_type != types_pb2.DATA_TYPE_UINT8
        or reference.channels
    ):
        raise FailedPreconditionError(
            f"{spec.reference_volume} cannot be compared with {spec.dataset}: class values (uint8)"
            f" of extent {subject.shape} are needed, and its extent is {extent}.",
            name=spec.reference_volume,
        )
    if spec.HasField("box"):
        spec.box.CopyFrom(subject.box(spec.box).to_proto())
    return spec, subject.warnings
