"""Work in a child process (spawn), so that neither the GIL nor a kill stops the parent.

The parent keeps heartbeats and health alive while the child computes. A child
stays warm between tasks; one that dies is started anew with the next task. If
the parent dies the child sees its pipe close and ends at once.
"""

import asyncio
import contextlib
import importlib
import itertools
import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import psutil

from biosegment.client.errors import (
    DomainError,
    JobCancelledError,
    OutOfMemoryError,
    WorkerDiedError,
)
from biosegment.runtime import log

_log = log.get(__name__)
_SPAWN = multiprocessing.get_context("spawn")
_CANCEL_GRACE_SECONDS = 20.0
_IDLE_SECONDS = 1.0
_STALL_SECONDS = 600.0
# Of a core: what threads that only wait take is far less, what any computation takes is more.
_STALL_LOAD = 0.01
_when_idle: list[Callable[[], None]] = []


class ChildFailedError(Exception):
    """An unexpected exception in the child; the message ends in its traceback."""


def portable(error: Exception) -> Exception:
    """The error as one that crosses to the parent: only the platform's own surely pickle."""
    if isinstance(error, DomainError):
        return error
    return ChildFailedError(f"{type(error).__name__}: {error}")


def when_idle(action: Callable[[], None]) -> None:
    """In the child: calls it once no task has come for a second, and then forgets it.

    For what the next task would miss if it came at once. The same action twice is called once;
    one that raises ends the process.
    """
    if action not in _when_idle:
        _when_idle.append(action)


class ChildContext:
    """What a function that runs in the child gets as its first argument."""

    def __init__(
        self, task: int, pipe: Connection, lock: threading.Lock, let_by: Callable[[], None]
    ) -> None:
        self._task = task
        self._pipe = pipe
        self._lock = lock
        self._let_by = let_by
        self._cancel = threading.Event()
        self._finish = threading.Event()

    def report(self, value: Any) -> None:
        """Sends a picklable value to the parent's on_report."""
        with self._lock:
            self._pipe.send(("report", self._task, value))

    @property
    def cancelled(self) -> bool:
        """Whether the parent asked to stop."""
        return self._cancel.is_set()

    @property
    def finishing(self) -> bool:
        """Whether the parent asked to end soon with what there is."""
        return self._finish.is_set()

    def check(self) -> None:
        """Does urgent tasks that wait; raises JobCancelledError once the parent asked to stop.

        For the thread that runs the task, at places where it can bear another one in between.
        """
        self._let_by()
        if self.cancelled:
            raise JobCancelledError("The work was cancelled.")


_Task = tuple[ChildContext, str, dict[str, Any]]


class _Server:
    """The child's side: does tasks as the parent sends them, urgent ones in between others."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        # A token for each task in either queue, so that one wait serves both.
        self._waiting: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._urgent: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self._others: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self._current: dict[int, ChildContext] = {}

    def run(self) -> None:
        """Works until the parent goes away."""
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            try:
                self._waiting.get(timeout=_IDLE_SECONDS if _when_idle else None)
            except queue.Empty:
                while _when_idle:
                    _when_idle.pop()()
                continue
            try:
                self._do(*self._urgent.get_nowait())
            except queue.Empty:
                self._do(*self._others.get())

    def _listen(self) -> None:
        while True:
            try:
                message = self._pipe.recv()
            except (EOFError, OSError):
                os._exit(0)
            if message[0] == "run":
                _, task, urgent, target, kwargs = message
                let_by = _nothing if urgent else self._let_by
                self._current[task] = context = ChildContext(task, self._pipe, self._lock, let_by)
                (self._urgent if urgent else self._others).put((context, target, kwargs))
                self._waiting.put(None)
            elif message[0] == "cancel" and message[1] in self._current:
                self._current[message[1]]._cancel.set()
            elif message[0] == "finish" and message[1] in self._current:
                self._current[message[1]]._finish.set()

    def _let_by(self) -> None:
        """Does the urgent tasks that wait, within the task in hand."""
        while not self._urgent.empty():
            task = self._urgent.get_nowait()
            self._waiting.get()
            self._do(*task)

    def _do(self, context: ChildContext, target: str, kwargs: dict[str, Any]) -> None:
        task = context._task
        answer: tuple[str, int, Any]
        try:
            module, _, function = target.partition(":")
            result = getattr(importlib.import_module(module), function)(context, **kwargs)
            answer = ("result", task, result)
        except DomainError as error:
            answer = ("error", task, error)
        except BaseException as error:  # noqa: BLE001 - everything goes to the parent
            answer = ("error", task, _translate(error))
        self._current.pop(task, None)
        try:
            with self._lock:
                self._pipe.send(answer)
        except OSError:
            os._exit(0)


def _nothing() -> None:
    return None


def _serve(pipe: Connection) -> None:
    """Entry point of the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Server(pipe).run()


def load(context: ChildContext, *, module: str) -> None:  # noqa: ARG001 - every task gets one
    """A task that does nothing but import a module, so that later ones find it there."""
    importlib.import_module(module)


def _translate(error: BaseException) -> Exception:
    # torch is not imported here; its out-of-memory class is known by name.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return OutOfMemoryError(f"Out of memory: {error}")
    return ChildFailedError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")


@dataclass(slots=True)
class _Flight:
    """A task that the child has been sent, and by what pipe."""

    pipe: Connection
    answer: asyncio.Future[Any]
    on_report: Callable[[Any], None] | None


class Child:
    """A warm child process that does one task at a time, and an urgent one in between."""

    def __init__(self, name: str, *, stall_seconds: float = _STALL_SECONDS) -> None:
        """Makes a child; its process starts with its first task.

        Args:
            name: For the log and error messages.
            stall_seconds: With a task in hand a process that neither computes nor reports for so
                long is taken to be stuck, on storage that never answers for example, and killed.
        """
        self._name = name
        self._stall_seconds = stall_seconds
        self._messages = 0
        # What was killed can still look alive, to one thread while another one reaps it.
        self._killed = False
        self._stuck: Connection | None = None
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._ids = itertools.count(1)
        self._flights: dict[int, _Flight] = {}
        # At most one task of either sort is with the child.
        self._turn, self._urgent_turn = asyncio.Lock(), asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Process id, None while there is no process."""
        return self._process.pid if self._process is not None else None

    async def run(
        self,
        target: str,
        *,
        on_report: Callable[[Any], None] | None = None,
        cancelled: asyncio.Event | None = None,
        finishing: asyncio.Event | None = None,
        urgent: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Runs ``module:function(context, **kwargs)`` in the child and returns its result.

        Args:
            target: The function, importable by name.
            on_report: Called in this event loop with each value that the function reports.
            cancelled: Once set, the child is asked to stop, and killed if it does not.
            finishing: Once set, the child is asked to end soon with what it has.
            urgent: Go before tasks that are not; one in hand lets it by when it next checks.
            kwargs: Picklable arguments.

        Raises:
            DomainError: Raised by the function.
            WorkerDiedError: The process ended without an answer.
            ChildFailedError: The function failed in an unexpected way.
        """
        async with self._urgent_turn if urgent else self._turn:
            return await self._run(target, on_report, cancelled, finishing, urgent, kwargs)

    async def _run(
        self,
        target: str,
        on_report: Callable[[Any], None] | None,
        cancelled: asyncio.Event | None,
        finishing: asyncio.Event | None,
        urgent: bool,
        kwargs: dict[str, Any],
    ) -> Any:
        watchers: list[asyncio.Task[None]] = []
        task = next(self._ids)
        try:
            pipe = self._start()
            answer = asyncio.get_running_loop().create_future()
            self._flights[task] = _Flight(pipe, answer, on_report)
            try:
                pipe.send(("run", task, urgent, target, kwargs))
            except OSError:
                raise WorkerDiedError(f"The {self._name} process ended.") from None
            watchers.append(asyncio.create_task(self._watch_stall()))
            if cancelled is not None:
                watchers.append(asyncio.create_task(self._watch(cancelled, task)))
            if finishing is not None:
                watchers.append(asyncio.create_task(self._pass_on(finishing, task)))
            return await answer
        except asyncio.CancelledError:
            self.kill()
            raise
        finally:
            for watcher in watchers:
                watcher.cancel()
            self._flights.pop(task, None)

    async def _pass_on(self, finishing: asyncio.Event, task: int) -> None:
        await finishing.wait()
        with contextlib.suppress(OSError):
            self._flights[task].pipe.send(("finish", task))

    async def _watch(self, cancelled: asyncio.Event, task: int) -> None:
        await cancelled.wait()
        with contextlib.suppress(OSError):
            self._flights[task].pipe.send(("cancel", task))
        while True:
            await asyncio.sleep(_CANCEL_GRACE_SECONDS)
            # An urgent task may not have had its turn yet: the one in hand is not to suffer.
            if min(self._flights, default=task) == task:
                break
        _log.warning("child.killed", child=self._name)
        self.kill()

    async def _watch_stall(self) -> None:
        loop = asyncio.get_running_loop()
        interval = self._stall_seconds / 10
        seen, since = self._activity(), loop.time()
        while loop.time() - since < self._stall_seconds:
            await asyncio.sleep(interval)
            now = self._activity()
            if now[0] != seen[0] or now[1] - seen[1] > _STALL_LOAD * interval:
                since = loop.time()
            seen = now
        _log.error("child.stuck", child=self._name, seconds=self._stall_seconds)
        self._stuck = self._pipe
        self.kill()

    def _activity(self) -> tuple[int, float]:
        """Messages received, and seconds of CPU time that the process and its own have taken."""
        seconds = 0.0
        # Processes that have just ended.
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            for each in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    times = each.cpu_times()
                    seconds += times.user + times.system
        return self._messages, seconds

    def _start(self) -> Connection:
        alive = self._process is not None and self._process.is_alive() and not self._killed
        if alive and self._pipe is not None:
            return self._pipe
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_serve, args=(theirs,), name=self._name, daemon=True)
        process.start()
        theirs.close()
        self._process, self._pipe, self._killed = process, ours, False
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(ours, process, loop), daemon=True).start()
        return ours

    def _listen(
        self, pipe: Connection, process: SpawnProcess, loop: asyncio.AbstractEventLoop
    ) -> None:
        while True:
            try:
                message = pipe.recv()
            except (EOFError, OSError):
                process.join(5)
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._died, pipe, process)
                return
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._received, message)

    def _received(self, message: tuple[str, int, Any]) -> None:
        kind, task, value = message
        self._messages += 1
        flight = self._flights.get(task)
        if flight is None or flight.answer.done():
            return
        if kind == "report":
            if flight.on_report is not None:
                flight.on_report(value)
        elif kind == "result":
            flight.answer.set_result(value)
        else:
            flight.answer.set_exception(value)

    def _died(self, pipe: Connection, process: SpawnProcess) -> None:
        pipe.close()
        # Another one may have been started since.
        if pipe is self._pipe:
            self._pipe = None
        code = process.exitcode
        hint = ""
        if pipe is self._stuck:
            hint = f" (killed; it had done nothing for {self._stall_seconds:g} s)"
        elif code == -signal.SIGKILL:
            hint = " (killed; was the machine out of memory?)"
        for flight in self._flights.values():
            if flight.pipe is pipe and not flight.answer.done():
                flight.answer.set_exception(
                    WorkerDiedError(
                        f"The {self._name} process ended with code {code}{hint}.", exit_code=code
                    )
                )

    async def keep_warm(self, module: str, stopping: asyncio.Event) -> None:
        """A loop for an App: starts the process and has it import a module, before tasks come.

        Loading torch takes seconds, which a person would wait for after the first batch, and again
        after every restart of the service.
        """
        loading = asyncio.create_task(self.run(f"{__name__}:load", module=module))
        stop = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait([loading, stop], return_when=asyncio.FIRST_COMPLETED)
            if loading.done() and (error := loading.exception()) is not None:
                # The first task will meet the same trouble, and report it.
                _log.warning("child.not_warm", child=self._name, error=str(error)[:500])
            await stop
        finally:
            for task in (loading, stop):
                task.cancel()
            await asyncio.gather(loading, stop, return_exceptions=True)

    def kill(self) -> None:
        """Ends the process at once."""
        self._killed = True
        if self._process is not None and self._process.is_alive():
            self._process.kill()
            # Reaped here (milliseconds), so that the next task does not take it for alive.
            self._process.join(1)

    async def close(self) -> None:
        """Ends the process."""
        self.kill()
        if self._process is not None:
            await asyncio.to_thread(self._process.join, 5)
