"""Streams that come in: every message within a minute, since a writer holds memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from biosegment.client.errors import DeadlineError

_MESSAGE_SECONDS = 60.0
_T = TypeVar("_T")


async def in_time(messages: AsyncIterator[_T], what: str) -> AsyncIterator[_T]:
    """The messages.

    Args:
        messages: Of a request stream.
        what: What they bring, in words.

    Raises:
        DeadlineError: The next one did not come within a minute.
    """
    iterator = aiter(messages)
    while True:
        try:
            async with asyncio.timeout(_MESSAGE_SECONDS):
                message = await anext(iterator)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise DeadlineError(
                f"The stream of {what} paused for more than {_MESSAGE_SECONDS:.0f} seconds."
            ) from None
        yield message
