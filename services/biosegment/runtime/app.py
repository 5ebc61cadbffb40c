"""The life of a service process: wire, serve, watch the loops, drain."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from biosegment.client.connection import Connection
from biosegment.client.stubs import AsyncStubs
from biosegment.runtime import log
from biosegment.runtime.bus import Bus
from biosegment.runtime.server import Server
from biosegment.runtime.settings import ServiceSettings
from biosegment.runtime.threads import Threads, pulse

_log = log.get(__name__)
CANNOT_START = 2
"""Exit status of a service that the same settings would not let start next time either."""


class App:
    """What wiring.py of a service fills: servicers, loops, and what to close.

    Attributes:
        connection: Token and addresses.
        stubs: Async stubs of the other services.
        bus: The event bus, connected.
    """

    def __init__(self, name: str, settings: ServiceSettings) -> None:
        self.name = name
        self.settings = settings
        self.connection = Connection.load(settings.connection)
        self.stubs = AsyncStubs(self.connection)
        self.bus = Bus(settings.nats_url)
        self.server = Server(settings.listen, self.connection.token)
        self._loops: list[tuple[str, Callable[[asyncio.Event], Coroutine[Any, Any, None]]]] = []
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self.stopping = asyncio.Event()

    def add_servicer(
        self, register: Callable[[Any, Any], None], servicer: Any, full_name: str
    ) -> None:
        """Adds a gRPC servicer."""
        self.server.add(register, servicer, full_name)

    def add_loop(
        self, name: str, loop: Callable[[asyncio.Event], Coroutine[Any, Any, None]]
    ) -> None:
        """Adds a background loop. It gets the stopping event and returns soon after it is set.

        A loop that raises ends the process: a service that lost a part must be restarted, not
        limp.
        """
        self._loops.append((name, loop))

    def on_close(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Adds something to close at the end, in reverse order."""
        self._closers.append(closer)

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self.stopping.set)
        await self.bus.connect()
        await self.server.start()
        _log.info("service.started", port=self.server.port)
        self.add_loop("pulse", self._pulse)
        tasks = [asyncio.create_task(run(self.stopping), name=name) for name, run in self._loops]
        stop = asyncio.create_task(self.stopping.wait(), name="stop")
        failed: BaseException | None = None
        try:
            done, _ = await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stop}:
                failed = task.exception() or RuntimeError(f"loop {task.get_name()} ended")
                _log.error("loop.failed", loop=task.get_name(), exc_info=failed)
        finally:
            self.stopping.set()
            stop.cancel()
            await self._close(tasks)
        if failed is not None:
            raise SystemExit(1)

    async def _pulse(self, stopping: asyncio.Event) -> None:
        async def tell(moves: bool) -> None:
            await self.server.report(serving=moves)

        await pulse(stopping, tell)

    async def _close(self, tasks: list[asyncio.Task[None]]) -> None:
        grace = self.settings.drain_seconds
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                _log.warning("loop.cut", loop=task.get_name())
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self.server.stop(grace)
        for close in reversed(self._closers):
            with contextlib.suppress(Exception):
                await close()
        await self.bus.close()
        await self.stubs.close()
        _log.info("service.stopped")


def main(
    name: str,
    make_settings: Callable[..., ServiceSettings],
    setup: Callable[[App, Any], Awaitable[None]],
) -> None:
    """Entry point of a service: ``python -m biosegment.<service>``."""
    from pydantic import ValidationError

    from biosegment.client.errors import DomainError

    try:
        settings = make_settings()
    except ValidationError as error:
        for problem in error.errors():
            field = "_".join(str(part) for part in problem["loc"]).upper()
            sys.stderr.write(f"{name}: setting BIOSEGMENT_{field}: {problem['msg']}\n")
        raise SystemExit(CANNOT_START) from None
    log.configure(name, settings.log_level, settings.log_format)

    status = CANNOT_START
    threads = Threads()

    async def serve() -> None:
        nonlocal status
        asyncio.get_running_loop().set_default_executor(threads)
        app = App(name, settings)
        await setup(app, settings)
        status = 1
        await app.run()

    try:
        asyncio.run(serve())
    except DomainError as error:
        sys.stderr.write(f"{name}: {error.message}\n")
        threads.leave(status)
        raise SystemExit(status) from None
    except BaseException:
        threads.leave(1)
        raise
    threads.leave(0)
