"""Brings the database to the schema of this release."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from biosegment.client.errors import FailedPreconditionError
from biosegment.runtime import log

_log = log.get(__name__)
_SCRIPTS = Path(__file__).parent / "migrations"


def config(url: str) -> Config:
    """Alembic's configuration, without an ini file."""
    made = Config()
    made.set_main_option("script_location", str(_SCRIPTS))
    made.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return made


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


async def upgrade(url: str) -> None:
    """Creates or upgrades the schema; a SQLite file is copied first.

    Raises:
        FailedPreconditionError: The database was made by a newer release.
    """
    settings = config(url)
    script = ScriptDirectory.from_config(settings)
    head = script.get_current_head()
    parsed = make_url(url)
    file = Path(parsed.database) if parsed.database and "sqlite" in parsed.drivername else None
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(parsed)
    try:
        async with engine.connect() as connection:
            present = await connection.run_sync(_current)
    finally:
        await engine.dispose()
    if present == head:
        return
    known = {revision.revision for revision in script.walk_revisions()}
    if present is not None and present not in known:
        raise FailedPreconditionError(
            f"The database {parsed.render_as_string(hide_password=True)} was made by a newer "
            f"release (schema {present}). Install that release, or use another database."
        )
    if file is not None and present is not None:
        await asyncio.to_thread(_copy, file, present)
    await asyncio.to_thread(command.upgrade, settings, "head")
    _log.info("database.upgraded", before=present or "", after=head)


def _copy(file: Path, revision: str) -> None:
    import sqlite3
    from contextlib import closing

    target = file.with_name(f"{file.name}.{revision}.backup")
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
