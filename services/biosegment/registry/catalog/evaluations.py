"""What model versions were measured on."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.geometry import Box
from biosegment.client.names import VOLUME, parse
from biosegment.registry.catalog.datasets import require_dataset
from biosegment.registry.database import now
from biosegment.registry.tables.boxes import box_values
from biosegment.registry.tables.catalog import EvaluationRow, ModelVersionRow
from biosegment.registry.values import finite, timestamp
from biosegment.v1 import jobs_pb2
from biosegment.v1 import registry_pb2 as pb


async def record_evaluation(
    session: AsyncSession,
    version: ModelVersionRow,
    job: str,
    spec: jobs_pb2.EvaluateSpec,
    result: jobs_pb2.EvaluateResult,
    warnings: Sequence[str],
) -> None:
    """Keeps the figures with what they were measured on. The caller holds the version's row.

    Raises:
        InvalidArgumentError: A name does not follow its pattern.
        NotFoundError: There is no such data set.
        OutsideVolumeError: The box leaves the data set.
    """
    dataset = await require_dataset(session, spec.dataset)
    parse(VOLUME, spec.reference_volume)
    box = Box.from_proto(spec.box) if spec.HasField("box") else Box.of_shape(dataset.shape)
    where = box_values(box.within(dataset.shape, dataset.name))
    of = {
        "model": version.model,
        "number": version.number,
        "dataset": dataset.name,
        "reference_volume": spec.reference_volume,
    }
    row = await session.scalar(select(EvaluationRow).filter_by(**of, **where))
    if row is None:
        row = EvaluationRow(**of, **where)
        session.add(row)
    row.metrics, row.voxels = finite(result.metrics), result.voxels
    row.warnings, row.job, row.create_time = list(warnings), job, now()
    await session.flush()


def to_proto(row: EvaluationRow) -> pb.Evaluation:
    """The message of a row."""
    return pb.Evaluation(
        dataset=row.dataset,
        reference_volume=row.reference_volume,
        box=row.box.to_proto(),
        metrics=row.metrics,
        voxels=row.voxels,
        job=row.job,
        create_time=timestamp(row.create_time),
        warnings=row.warnings,
    )
