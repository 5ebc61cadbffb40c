"""Events: proto payloads on the bus with CloudEvents 1.0 binary headers."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from google.protobuf.message import Message as ProtoMessage

from biosegment.client.errors import DomainError
from biosegment.runtime import log
from biosegment.runtime.bus import Bus, Message
from biosegment.runtime.provision import EVENTS

_log = log.get(__name__)
_MAX_DELIVERIES = 20


def headers(event_id: str, kind: str, subject: str, time: datetime | None = None) -> dict[str, str]:
    """CloudEvents 1.0 headers in binary mode.

    Args:
        event_id: Unique; also the Nats-Msg-Id.
        kind: Full name of the payload's message.
        subject: The resource concerned.
        time: When it happened; else now.
    """
    return {
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "ce-type": kind,
        "ce-source": "/biosegment/registry",
        "ce-subject": subject,
        "ce-time": (time or datetime.now(UTC)).isoformat(),
        "content-type": "application/protobuf",
    }


def subject_of(event: ProtoMessage) -> str:
    """Subject of an event message: ModelVersionCreated → biosegment.events.model_version.created.

    The last word is the verb, the words before it the resource.
    """
    words: list[str] = []
    for letter in event.DESCRIPTOR.name:
        if letter.isupper():
            words.append("")
        words[-1] += letter.lower()
    return f"biosegment.events.{'_'.join(words[:-1])}.{words[-1]}"


class EventConsumer:
    """Feeds a handler from a durable consumer of the EVENTS stream, one event at a time.

    The handler must bear repeats and reordering. One that raises gets the event again after a
    growing delay; after 20 tries the event is logged and dropped, since every consumer also looks
    at the record by itself from time to time.
    """

    def __init__(
        self, bus: Bus, durable: str, handle: Callable[[Message], Awaitable[None]]
    ) -> None:
        self._bus = bus
        self._durable = durable
        self._handle = handle

    async def run(self, stopping: asyncio.Event) -> None:
        """Consumes until stopping is set."""
        async for message in self._bus.messages(EVENTS, self._durable, stopping):
            try:
                await self._handle(message)
            except Exception as error:  # noqa: BLE001 - a consumer must outlive any one event
                expected = isinstance(error, DomainError)
                _log.warning(
                    "event.failed",
                    subject=message.subject,
                    deliveries=message.deliveries,
                    error=str(error),
                    exc_info=None if expected else error,
                )
                if message.deliveries < _MAX_DELIVERIES:
                    await message.nak(min(30.0, 0.5 * 2.0 ** min(message.deliveries, 6)))
                    continue
            await message.ack()
