"""The migrations make the schema that the tables describe, and refuse what they do not know."""

import asyncio
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import text

from biosegment.client.errors import FailedPreconditionError
from biosegment.registry.database import Database
from biosegment.registry.migrate import config, upgrade


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'deep' / 'registry.db'}"


async def test_the_migrated_schema_is_that_of_the_tables(url: str) -> None:
    await upgrade(url)
    await upgrade(url)  # Nothing to do the second time.
    await asyncio.to_thread(command.check, config(url))


async def test_a_database_of_a_newer_release_is_refused(url: str) -> None:
    await upgrade(url)
    database = Database(url)
    async with database.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = 'f00000000000'"))
    await database.close()
    with pytest.raises(FailedPreconditionError, match="newer release"):
        await upgrade(url)
