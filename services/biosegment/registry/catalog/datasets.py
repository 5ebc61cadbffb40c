"""Data sets and their segmentations."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.geometry import shape_proto
from biosegment.client.names import DATASET, not_found, parse, project_of
from biosegment.registry.listing import COMPARED, after_name, after_number, list_page
from biosegment.registry.tables.catalog import DatasetRow, SegmentationRow
from biosegment.registry.values import timestamp
from biosegment.v1 import registry_pb2 as pb
from biosegment.v1 import types_pb2

_NEWEST = 10**18


async def require_dataset(session: AsyncSession, name: str, *, lock: bool = False) -> DatasetRow:
    """The row of a data set.

    Args:
        session: The transaction.
        name: projects/p/datasets/d
        lock: Hold the row until the transaction ends; whoever appends to the log does.

    Raises:
        InvalidArgumentError: The name does not follow the pattern.
        NotFoundError: There is no such data set.
    """
    parse(DATASET, name)
    row = await session.get(DatasetRow, name, with_for_update=lock or None)
    if row is None:
        others = select(DatasetRow.name).where(DatasetRow.project == project_of(name))
        raise not_found(DATASET, name, await session.scalars(others.limit(COMPARED)))
    return row


async def list_datasets(
    session: AsyncSession, project: str | None, page_size: int, page_token: str
) -> tuple[list[pb.Dataset], str]:
    """A page of a project's data sets (None: of all projects) by name, and the next token.

    Raises:
        InvalidArgumentError: page_size or page_token is wrong.
    """
    query = (
        select(DatasetRow).where(DatasetRow.name > after_name(page_token)).order_by(DatasetRow.name)
    )
    if project is not None:
        query = query.where(DatasetRow.project == project)
    return await list_page(session, query, page_size, to_proto, lambda row: row.name)


def to_proto(row: DatasetRow) -> pb.Dataset:
    """The message of a row."""
    return pb.Dataset(
        name=row.name,
        display_name=row.display_name,
        raw_volume=row.raw_volume,
        label_volume=row.label_volume,
        shape=shape_proto(row.shape),
        voxel_size=types_pb2.VoxelSize(z=row.voxel_z, y=row.voxel_y, x=row.voxel_x),
        metadata=row.properties,
        revision=row.revision,
        create_time=timestamp(row.create_time),
        reference_volumes=row.reference_volumes,
    )


async def list_segmentations(
    session: AsyncSession, dataset: str, page_size: int, page_token: str
) -> tuple[list[pb.Segmentation], str]:
    """A page of a data set's segmentations, newest first, and the next page's token.

    Raises:
        InvalidArgumentError: page_size or page_token is wrong.
    """
    query = (
        select(SegmentationRow)
        .where(
            SegmentationRow.dataset == dataset,
            SegmentationRow.id < after_number(page_token, first=_NEWEST),
        )
        .order_by(SegmentationRow.id.desc())
    )
    return await list_page(session, query, page_size, segmentation_proto, lambda row: row.id)


def segmentation_proto(row: SegmentationRow) -> pb.Segmentation:
    """The message of a row."""
    return pb.Segmentation(
        name=row.name,
        version=row.version,
        volume=row.volume,
        job=row.job,
        complete=row.complete,
        create_time=timestamp(row.create_time),
    )
