"""Projects."""

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.errors import AlreadyExistsError
from biosegment.client.names import PROJECT, not_found, parse, short
from biosegment.registry.catalog.classes import background
from biosegment.registry.database import Base, now
from biosegment.registry.listing import COMPARED, after_name, list_page
from biosegment.registry.tables.catalog import ProjectRow
from biosegment.registry.values import check_text, timestamp
from biosegment.v1 import registry_pb2 as pb

EVERY_PROJECT = "projects/-"


async def create_project(session: AsyncSession, project: pb.Project) -> pb.Project:
    """Makes a project, and its label class 0.

    Raises:
        InvalidArgumentError: The name is not a legal one.
        AlreadyExistsError: The name is taken.
    """
    parse(PROJECT, project.name)
    row = ProjectRow(
        name=project.name,
        display_name=check_text(project.display_name, "project.display_name"),
        create_time=now(),
    )
    await add_named(session, row, row.name, "project")
    session.add(background(row.name))
    return to_proto(row)


async def require_project(session: AsyncSession, name: str, *, lock: bool = False) -> ProjectRow:
    """The row of a project.

    Args:
        session: The transaction.
        name: projects/p
        lock: Hold the row until the transaction ends.

    Raises:
        InvalidArgumentError: The name does not follow the pattern.
        NotFoundError: There is no such project.
    """
    parse(PROJECT, name)
    row = await session.get(ProjectRow, name, with_for_update=lock or None)
    if row is None:
        others = select(ProjectRow.name).limit(COMPARED)
        raise not_found(PROJECT, name, await session.scalars(others))
    return row


async def parent_project(session: AsyncSession, parent: str) -> str | None:
    """The project of a list's parent; None for "projects/-", which stands for all.

    Raises:
        InvalidArgumentError: The name does not follow the pattern.
        NotFoundError: There is no such project.
    """
    if parent == EVERY_PROJECT:
        return None
    return (await require_project(session, parent)).name


async def add_named(session: AsyncSession, row: Base, name: str, what: str) -> None:
    """Adds a row of which the name must be free.

    Args:
        session: The transaction.
        row: The row.
        name: Its resource name, and its primary key.
        what: The kind of resource, in a word or two.

    Raises:
        AlreadyExistsError: The name is taken.
    """
    taken = AlreadyExistsError(
        f'There is a {what} "{short(name)}" already; choose another name, or use the one there is.',
        name=name,
    )
    if await session.get(type(row), name) is not None:
        raise taken
    session.add(row)
    try:
        await session.flush()
    except IntegrityError:
        # Another transaction took the name since we looked.
        raise taken from None


async def list_projects(
    session: AsyncSession, page_size: int, page_token: str
) -> tuple[list[pb.Project], str]:
    """A page of all projects by name, and the next page's token.

    Raises:
        InvalidArgumentError: page_size or page_token is wrong.
    """
    query = (
        select(ProjectRow).where(ProjectRow.name > after_name(page_token)).order_by(ProjectRow.name)
    )
    return await list_page(session, query, page_size, to_proto, lambda row: row.name)


def to_proto(row: ProjectRow) -> pb.Project:
    """The message of a row."""
    return pb.Project(
        name=row.name, display_name=row.display_name, create_time=timestamp(row.create_time)
    )
