"""The database: one engine, one way to open a transaction."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, MetaData, TypeDecorator, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase

from biosegment.client.errors import UnavailableError

BigInt = BigInteger().with_variant(Integer, "sqlite")
"""64 bits everywhere; SQLite autoincrements only INTEGER keys."""


class Instant(TypeDecorator[datetime]):
    """A point in time, always UTC and aware in Python."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database."""
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """Base of every table."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: Instant, int: BigInt}  # noqa: RUF012


def now() -> datetime:
    """The present time, UTC."""
    return datetime.now(UTC)


class Database:
    """Opens transactions, and tells who waits when one has committed.

    On SQLite writers are serialised here, by a lock, rather than by SQLite's busy timeout: a
    transaction that had read before it writes would otherwise fail at once with "database is
    locked".
    """

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self.engine: AsyncEngine = create_async_engine(self._url, pool_pre_ping=True)
        self._sqlite = self._url.get_backend_name() == "sqlite"
        self._writers = asyncio.Lock()
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        self._committed: set[asyncio.Event] = set()
        if self._sqlite:
            event.listen(self.engine.sync_engine, "connect", _configure_sqlite)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A transaction that may write; committed at the end, rolled back on an exception.

        Raises:
            UnavailableError: The database does not take it now; its disk may be full.
        """
        with _trouble():
            if self._sqlite:
                async with self._writers, self._sessions.begin() as session:
                    yield session
            else:
                async with self._sessions.begin() as session:
                    yield session
        for waiting in self._committed:
            waiting.set()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A transaction that only reads.

        Raises:
            UnavailableError: The database cannot be read now.
        """
        with _trouble():
            async with self._sessions() as session:
                yield session

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[asyncio.Event]:
        """An event that every commit of this process sets; clear it before looking."""
        waiting = asyncio.Event()
        self._committed.add(waiting)
        try:
            yield waiting
        finally:
            self._committed.discard(waiting)

    async def close(self) -> None:
        """Closes every connection."""
        await self.engine.dispose()


@contextmanager
def _trouble() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise UnavailableError(
            f"The record cannot be reached at the moment: {error.orig}."
        ) from error


def _configure_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # An acknowledged commit must survive a power cut; NORMAL would not promise that in WAL.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()
