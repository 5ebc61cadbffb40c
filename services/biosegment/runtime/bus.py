"""The event bus: NATS JetStream, used only through streams and consumers that exist already.

Streams and durable consumers are made by ``biosegment.runtime.provision``. A
subscriber binds; it never creates, because a subscription on an existing
durable silently ignores a new configuration.
"""

from biosegment.runtime import lean_nats  # noqa: F401

# isort: split
import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from biosegment.client.errors import UnavailableError
from biosegment.runtime import log

_log = log.get(__name__)
_FETCH_SECONDS = 2.0
_CONNECT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery. Work that takes long calls ``keep`` more often than ack_wait."""

    raw: Msg

    @property
    def data(self) -> bytes:
        """The payload."""
        return self.raw.data

    @property
    def subject(self) -> str:
        """The subject."""
        return self.raw.subject

    @property
    def deliveries(self) -> int:
        """How often it was delivered, this time included."""
        return int(self.raw.metadata.num_delivered)

    async def ack(self) -> None:
        """Done. An ack that is lost only causes a harmless repeat."""
        with contextlib.suppress(nats.errors.Error):
            await self.raw.ack()

    async def nak(self, delay: float) -> None:
        """Again, after a delay in seconds; without one JetStream would repeat at once."""
        with contextlib.suppress(nats.errors.Error):
            await self.raw.nak(delay=delay)

    async def keep(self) -> None:
        """Still at it."""
        with contextlib.suppress(nats.errors.Error):
            await self.raw.in_progress()


class Bus:
    """A connection that outlives restarts of the server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = Client()
        self._js: JetStreamContext | None = None

    async def connect(self) -> None:
        """Connects, waiting up to a minute for the server.

        Raises:
            UnavailableError: It did not come up.
        """
        deadline = asyncio.get_running_loop().time() + _CONNECT_SECONDS
        while True:
            try:
                await self._client.connect(
                    self._url,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.25,  # type: ignore[arg-type]  # it takes fractions
                    ping_interval=10,
                    error_cb=self._on_error,
                )
                break
            except (OSError, nats.errors.Error) as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise UnavailableError(
                        f"The event bus at {self._url} cannot be reached: {error}.", url=self._url
                    ) from None
                await asyncio.sleep(0.2)
        self._js = self._client.jetstream(timeout=5)

    async def _on_error(self, error: Exception) -> None:
        _log.debug("bus.trouble", error=str(error) or type(error).__name__)

    @property
    def js(self) -> JetStreamContext:
        """The JetStream context."""
        if self._js is None:
            raise RuntimeError("the bus is not connected")
        return self._js

    async def publish(
        self, subject: str, data: bytes, message_id: str, headers: dict[str, str] | None = None
    ) -> None:
        """Publishes and waits until the stream has stored the message.

        Args:
            subject: Where to.
            data: The payload, a serialised message of events.proto.
            message_id: A repeat with the same id within two minutes is dropped by the stream.
            headers: Further headers.

        Raises:
            UnavailableError: The bus did not take it.
        """
        try:
            await self.js.publish(
                subject, data, headers={**(headers or {}), "Nats-Msg-Id": message_id}
            )
        except (nats.errors.Error, nats.js.errors.Error) as error:
            raise UnavailableError(
                f"The event bus did not take a message for {subject}: {error}.", subject=subject
            ) from None

    async def messages(
        self, stream: str, durable: str, stopping: asyncio.Event
    ) -> AsyncIterator[Message]:
        """Yields deliveries of a durable pull consumer, one at a time, until stopping is set.

        Survives restarts of the server and of the stream; the caller acks.
        """
        while not stopping.is_set():
            subscription: JetStreamContext.PullSubscription | None = None
            try:
                subscription = await self.js.pull_subscribe_bind(consumer=durable, stream=stream)
                while not stopping.is_set():
                    try:
                        fetched = await subscription.fetch(1, timeout=_FETCH_SECONDS)
                    except (TimeoutError, nats.errors.TimeoutError):
                        if not self._client.is_connected:
                            break
                        continue
                    for raw in fetched:
                        yield Message(raw)
            except (nats.errors.Error, nats.js.errors.Error) as error:
                _log.info("bus.waited", durable=durable, error=str(error) or type(error).__name__)
            finally:
                # A pull request left open would hold the next drain until its timeout.
                if subscription is not None:
                    with contextlib.suppress(nats.errors.Error):
                        await subscription.unsubscribe()
            if not stopping.is_set():
                await asyncio.sleep(0.5)

    async def close(self) -> None:
        """Sends what is buffered and disconnects."""
        if self._client.is_connected:
            with contextlib.suppress(nats.errors.Error, TimeoutError):
                await asyncio.wait_for(self._client.flush(), 2)
        with contextlib.suppress(nats.errors.Error):
            await self._client.close()
