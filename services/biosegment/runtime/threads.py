"""The threads of a service's event loop, and whether work still moves through them.

A call that blocks for good, say in opening a file of a file server that is gone, keeps its thread.
Once none is left everything waits that needs one, though the event loop answers: the pulse, which
needs a thread as well, then says so to whoever asks for the service's health.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from biosegment.runtime import log

_log = log.get(__name__)
_THREADS = 16
PULSE_SECONDS = 10.0
PATIENCE_SECONDS = 30.0
"""A thread that does not come within this time does not come at all."""
_LEAVE_SECONDS = 2.0


class Threads(ThreadPoolExecutor):
    """An executor that does not wait for calls that block when the process is to end."""

    def __init__(self, threads: int = _THREADS) -> None:
        super().__init__(threads, "work")
        self._running: set[Future[Any]] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Runs a call in a thread."""
        future = super().submit(fn, *args, **kwargs)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes nothing more; what waits for a thread is cancelled."""
        super().shutdown(wait=False, cancel_futures=True)

    def leave(self, status: int) -> None:
        """Ends the process if a call still blocks: Python itself would wait for it for ever."""
        if wait(set(self._running), _LEAVE_SECONDS).not_done:
            _log.warning("threads.left", calls=len(self._running))
            logging.shutdown()
            sys.stderr.flush()
            os._exit(status)


async def pulse(stopping: asyncio.Event, tell: Callable[[bool], Awaitable[None]]) -> None:
    """Sends a call through the threads now and then, until stopping is set.

    Args:
        stopping: Ends it.
        tell: Called with False when the call does not come back in time, and with True when it
            does after all.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.create_task(stopping.wait())
    try:
        while not stopping.is_set():
            beat = loop.run_in_executor(None, _nothing)
            both: list[asyncio.Future[Any]] = [beat, ended]
            await asyncio.wait(both, timeout=PATIENCE_SECONDS, return_when="FIRST_COMPLETED")
            if not beat.done() and not stopping.is_set():
                _log.error("work.stuck", seconds=PATIENCE_SECONDS)
                await tell(False)
                await asyncio.wait(both, return_when="FIRST_COMPLETED")
                if beat.done():
                    _log.info("work.moves")
                    await tell(True)
            beat.cancel()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(ended), PULSE_SECONDS)
    finally:
        ended.cancel()


def _nothing() -> None:
    pass
