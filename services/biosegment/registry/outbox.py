"""The transactional outbox: messages are rows first, and go out once their transaction stands."""

import asyncio
import uuid

from google.protobuf.message import Message
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.errors import DomainError
from biosegment.registry.database import Database
from biosegment.registry.tables.outbox import OutboxRow
from biosegment.runtime import log
from biosegment.runtime.bus import Bus
from biosegment.runtime.events import headers, subject_of

_log = log.get(__name__)
_BATCH = 200
_POLL_SECONDS = 5.0


def publish_event(session: AsyncSession, event: Message, resource: str) -> None:
    """Records an event of events.proto, to go out when the transaction commits.

    Args:
        session: The transaction that the event tells of.
        event: The payload; its type gives the subject.
        resource: Name of the resource concerned.
    """
    identity = str(uuid.uuid4())
    session.add(
        OutboxRow(
            message_id=identity,
            subject=subject_of(event),
            headers=headers(identity, event.DESCRIPTOR.full_name, resource),
            payload=event.SerializeToString(),
        )
    )


def publish_message(session: AsyncSession, subject: str, message: Message) -> None:
    """Records a wake-up or a dead letter for a subject."""
    session.add(
        OutboxRow(
            message_id=str(uuid.uuid4()),
            subject=subject,
            headers={},
            payload=message.SerializeToString(),
        )
    )


class OutboxRelay:
    """Publishes the rows in the order of their ids and removes them."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self._database = database
        self._bus = bus

    async def run(self, stopping: asyncio.Event) -> None:
        """Relays until stopping is set, waking up with each commit."""
        async with self._database.changes() as changed:
            while not stopping.is_set():
                changed.clear()
                try:
                    while await self.flush():
                        pass
                except DomainError as error:
                    # The bus is away. The rows stay; commits would wake us in vain.
                    _log.warning("outbox.waited", error=error.message)
                    await asyncio.sleep(0.5)
                    continue
                await _first(changed, stopping, _POLL_SECONDS)

    async def flush(self) -> int:
        """Publishes one batch; returns how many rows went out."""
        async with self._database.read() as session:
            rows = (
                await session.scalars(select(OutboxRow).order_by(OutboxRow.id).limit(_BATCH))
            ).all()
        sent: list[int] = []
        try:
            for row in rows:
                await self._bus.publish(row.subject, row.payload, row.message_id, row.headers)
                sent.append(row.id)
        finally:
            # A row that went out but is still here goes out again: its message id is the same,
            # and consumers bear repeats.
            if sent:
                async with self._database.write() as session:
                    await session.execute(delete(OutboxRow).where(OutboxRow.id.in_(sent)))
        return len(rows)


async def _first(changed: asyncio.Event, stopping: asyncio.Event, timeout: float) -> None:
    waits = [asyncio.ensure_future(changed.wait()), asyncio.ensure_future(stopping.wait())]
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
