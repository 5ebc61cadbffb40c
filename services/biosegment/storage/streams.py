"""Streams in and out: a slow peer costs itself only.

A stream that waits for its peer holds a place and a file, never one of the few turns at the store
or much memory. It is given up when the peer pauses or is slower than anybody's network; and where
places run out, the slowest makes room.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from biosegment.client.errors import DeadlineError, UnavailableError

MESSAGE_SECONDS = 60.0
"""So long a peer may pause."""
GRACE_SECONDS = 60.0
PACE = 64 << 10
"""Bytes per second that a peer keeps up at least, beyond the grace."""
STREAMS = 32
"""At a time, of each direction and kind."""
_SLOW_SECONDS = 5.0
_PLACE_SECONDS = 30.0
_LOOK_SECONDS = 0.5
_T = TypeVar("_T")


class Stream:
    """One stream, and how long its peer was waited for."""

    def __init__(self, what: str, freed: Callable[["Stream"], None]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task: asyncio.Task[Any] | None = task
        self._freed = freed
        self._what = what
        self._bytes = 0
        self._waited = 0.0
        self._since: float | None = None
        self.given_up = ""

    def waited(self) -> float:
        """Seconds for which the peer was waited for, now among them."""
        now = 0.0 if self._since is None else time.monotonic() - self._since
        return self._waited + now

    def pace(self) -> float:
        """Bytes per second of waiting."""
        return self._bytes / max(self.waited(), 1e-3)

    @property
    def waits(self) -> bool:
        """Whether its peer is waited for now."""
        return self._since is not None

    def give_up(self, reason: str) -> None:
        """Ends the stream; its place is free at once, whenever its call comes to its end."""
        if not self.given_up:
            self.given_up = reason
            self._freed(self)
            task, self._task = self._task, None
            # The peer of a call whose task was cancelled may hear of it late from grpc.aio, perhaps
            # at its own deadline; nothing here waits for that.
            if task is not None:
                task.cancel()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the waiting for the peer; gives the stream up when that takes too long."""
        left = GRACE_SECONDS + self._bytes / PACE - self._waited
        reason = (
            f"paused for more than {MESSAGE_SECONDS:g} s"
            if left > MESSAGE_SECONDS
            else f"was slower than {PACE >> 10} KiB per second"
        )
        loop = asyncio.get_running_loop()
        timer = loop.call_later(max(0.0, min(MESSAGE_SECONDS, left)), self.give_up, reason)
        self._since = time.monotonic()
        try:
            yield
        except asyncio.CancelledError:
            if not self.given_up:
                raise
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
            raise DeadlineError(f"The stream of {self._what} {self.given_up}.") from None
        finally:
            timer.cancel()
            self._waited, self._since = self.waited(), None

    async def taken(
        self, messages: AsyncIterator[_T], size: Callable[[_T], int]
    ) -> AsyncIterator[_T]:
        """The messages that come in.

        Raises:
            DeadlineError: The peer was too slow.
        """
        iterator = aiter(messages)
        while True:
            try:
                with self.waiting():
                    message = await anext(iterator)
            except StopAsyncIteration:
                return
            self._bytes += size(message)
            yield message

    async def given(
        self, messages: AsyncIterator[_T], size: Callable[[_T], int]
    ) -> AsyncGenerator[_T]:
        """The messages that go out; the call is cut off when the peer does not take them."""
        async for message in messages:
            with self.waiting():
                yield message
            self._bytes += size(message)


class Places:
    """So many streams at a time."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._open: set[Stream] = set()
        self._left = asyncio.Event()

    async def enter(self) -> Stream:
        """A new stream, in place of the slowest one if need be; ``leave`` ends it.

        Raises:
            UnavailableError: No place became free.
        """
        try:
            async with asyncio.timeout(_PLACE_SECONDS):
                while len(self._open) >= STREAMS:
                    if not self._make_room():
                        self._left.clear()
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(self._left.wait(), _LOOK_SECONDS)
        except TimeoutError:
            raise UnavailableError(
                f"{STREAMS} streams of {self._what} are open; try again in a moment."
            ) from None
        made = Stream(self._what, self.leave)
        self._open.add(made)
        return made

    def leave(self, stream: Stream) -> None:
        """Frees its place."""
        self._open.discard(stream)
        self._left.set()

    def _make_room(self) -> bool:
        slow = [each for each in self._open if each.waits and each.waited() > _SLOW_SECONDS]
        if slow:
            min(slow, key=Stream.pace).give_up("was the slowest of too many at a time")
        return bool(slow)
