"""Starts processes in stages, restarts the ones that die or hang, stops all of them in order.

One thread owns every process: the kernel ties a child to the *thread* that started it.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from biosegment.cli.up import watch
from biosegment.cli.up.process import LOG_BYTES, Process, Spec
from biosegment.client.errors import (
    DeadlineError,
    FailedPreconditionError,
    NotFoundError,
    UnavailableError,
)

_POLL_SECONDS = 0.1
_FIRST_DELAY, _LONGEST_DELAY = 0.2, 5.0
_AFTERWARDS_SECONDS = 70.0
_KILL_SECONDS = 5.0
_TRIM_SECONDS = 0.2
OWN_LOG = "up.log"
"""What was started, what ended and with which status, and why all was stopped."""
CANNOT_START = 2
"""Exit status by which a service says that it would fail the same way next time. Once all is up it
counts as any other end: what is refused now was granted before."""


class _Tended:
    """A process with its history of crashes."""

    def __init__(self, process: Process, window: float) -> None:
        self.process = process
        self._window = window
        self._crashes: deque[float] = deque()
        self.due: float | None = None
        self.settled = False
        self.began = 0.0

    def is_settled(self) -> bool:
        """Whether it has been ready since it was last started."""
        return self.settled

    def crashed(self, now: float) -> int:
        """Notes a crash and plans the restart; how many there were within the window."""
        self._crashes.append(now)
        while now - self._crashes[0] > self._window:
            self._crashes.popleft()
        count = len(self._crashes)
        self.due = now + min(_FIRST_DELAY * 2.0 ** (count - 1), _LONGEST_DELAY)
        self.settled = False
        return count


class Supervisor:
    """Keeps a set of processes running."""

    def __init__(
        self,
        specs: Sequence[Spec],
        logs: Path,
        *,
        crash_limit: int = 5,
        crash_window: float = 60.0,
        stop_seconds: float = 15.0,
        log_bytes: int = LOG_BYTES,
        told: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """Makes the supervisor; nothing runs yet.

        Args:
            specs: What to run.
            logs: Folder of the log files, one per process.
            crash_limit: So many ends of one process within the window, and all is stopped.
            crash_window: Seconds.
            stop_seconds: How long a process may take to obey SIGTERM.
            log_bytes: Of the logs of each process, in two files, while it runs too.
            told: Called with a line on each step of the start, and on each process that is started
                again, by the supervisor's thread.
        """
        self._tended = {
            spec.name: _Tended(Process(spec, logs / f"{spec.name}.log", log_bytes), crash_window)
            for spec in specs
        }
        self._log = logs / OWN_LOG
        self._log_bytes = log_bytes
        self._told = told
        self._stages = sorted({spec.stage for spec in specs})
        self._crash_limit = crash_limit
        self._crash_window = crash_window
        self._stop_seconds = stop_seconds
        self._deadline = 0.0
        self._stopping = threading.Event()
        self._up = threading.Event()
        self._ended = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._trimmer = threading.Thread(target=self._trim, name="logs", daemon=True)
        self._watches = [
            watch.Watch(tended.process, tended.is_settled, self._stopping)
            for tended in self._tended.values()
        ]

    def start(self, timeout: float) -> None:
        """Starts everything and returns once all is ready.

        Raises:
            DeadlineError: Something was not ready within the timeout; all is stopped again.
            FailedPreconditionError: A process said that it cannot start; all is stopped again.
            UnavailableError: A process keeps ending; all is stopped again.
        """
        self._deadline = time.monotonic() + timeout
        self._trimmer.start()
        self._thread.start()
        try:
            self._up.wait()
        except BaseException:
            self.stop()
            raise
        if self._failure is not None:
            self._ended.wait()
            raise self._failure

    def stop(self) -> None:
        """Stops everything, last stage first; returns when no process is left."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until everything has stopped; whether it has.

        Raises:
            UnavailableError: It stopped because a process keeps ending.
        """
        if not self._ended.wait(timeout):
            return False
        if self._failure is not None:
            raise self._failure
        return True

    def process(self, name: str) -> Process:
        """A process by its name.

        Raises:
            NotFoundError: There is none of that name.
        """
        if name not in self._tended:
            known = ", ".join(self._tended)
            raise NotFoundError(f'There is no process "{name}"; there are {known}.', name=name)
        return self._tended[name].process

    def _run(self) -> None:
        try:
            self._note(f"starting {', '.join(self._tended)}")
            self._bring_up()
            for each in self._watches:
                each.start()
            self._up.set()
            while not self._stopping.wait(_POLL_SECONDS):
                self._tend()
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits
            self._failure = error
            self._note(f"stopping everything: {error}")
        finally:
            self._stopping.set()
            self._bring_down()
            self._note("stopped")
            for each in self._watches:
                # What it waits for is gone, so it ends soon.
                if each.ident is not None:
                    each.join(watch.PROBE_SECONDS)
            self._ended.set()
            self._up.set()

    def _bring_up(self) -> None:
        for stage in self._stages:
            members = self._members(stage)
            for tended in members:
                tended.due = tended.began = time.monotonic()
            while not all(tended.settled for tended in members):
                self._tend()
                late = [t.process.spec.name for t in members if not t.settled]
                if late and time.monotonic() > self._deadline:
                    last = self.process(late[0])
                    raise DeadlineError(
                        f"Not ready in time: {', '.join(late)}. The log {last.log} ends:\n"
                        f"{last.last_lines()}",
                        log=last.log,
                    )
                if self._stopping.wait(_POLL_SECONDS):
                    return

    def _bring_down(self) -> None:
        for stage in reversed(self._stages):
            members = [tended.process for tended in self._members(stage)]
            for process in members:
                process.ask_to_stop()
            end = time.monotonic() + self._stop_seconds
            for process in members:
                process.end(max(0.0, end - time.monotonic()))

    def _trim(self) -> None:
        # A thread of its own: what the other one waits for may take a minute.
        processes = [tended.process for tended in self._tended.values()]
        while not self._ended.wait(_TRIM_SECONDS):
            for process in processes:
                process.trim_log()

    def _note(self, text: str) -> None:
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        with contextlib.suppress(OSError):  # The disk may be full.
            if self._log.exists() and self._log.stat().st_size > self._log_bytes // 2:
                self._log.replace(self._log.with_name(OWN_LOG + ".1"))
            with self._log.open("a") as log:
                log.write(f"{moment} {text}\n")

    def _members(self, stage: int) -> list[_Tended]:
        return [t for t in self._tended.values() if t.process.spec.stage == stage]

    def _tend(self) -> None:
        for tended in self._tended.values():
            now = time.monotonic()
            process = tended.process
            if tended.due is not None:
                if now >= tended.due:
                    tended.due = None
                    process.start()
            elif (status := process.poll()) is not None:
                ended = f"{process.spec.name} ended with status {status}"
                self._note(ended)
                if self._up.is_set():
                    self._told(f"{ended} and is started again; its log is {process.log}")
                if status == CANNOT_START and not self._up.is_set():
                    raise FailedPreconditionError(
                        f"The platform cannot start; {process.last_lines(1)}",
                        process=process.spec.name,
                    )
                if process.was_killed:
                    # On purpose, through us: that says nothing of its health.
                    tended.due, tended.settled = now + _FIRST_DELAY, False
                elif tended.crashed(now) >= self._crash_limit:
                    raise UnavailableError(
                        f"{process.spec.name} ended {self._crash_limit} times within "
                        f"{self._crash_window:g} s (last with status {status}). "
                        f"Its log {process.log} ends:\n{process.last_lines()}",
                        process=process.spec.name,
                        log=process.log,
                    )
            elif process.spec.spoilt():
                # No crash: however often it is needed, it is started anew.
                process.kill()
                process.end(_KILL_SECONDS)
                tended.due, tended.settled = now, False
            elif process.pid is not None and not tended.settled and process.spec.ready():
                tended.settled = process.run_afterwards(_AFTERWARDS_SECONDS)
                if tended.settled:
                    self._tell_of(tended)

    def _tell_of(self, tended: _Tended) -> None:
        name = tended.process.spec.name
        if self._up.is_set():
            self._note(f"{name} is up again")
            self._told(f"{name} is up again")
            return
        settled = sum(each.settled for each in self._tended.values())
        took = time.monotonic() - tended.began
        self._note(f"{name} is up")
        self._told(f"{settled}/{len(self._tended)} {name} is up after {took:.1f} s")
