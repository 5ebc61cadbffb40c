"""One child process: started, watched, stopped, its output kept in a log file."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

LOG_BYTES = 9 << 20
"""Of the log files of one process, by default."""
_LOOK_SECONDS = 0.1
_CATCHES = 5
_END_BYTES = 4096
_LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What to run.

    Attributes:
        name: Names the process and its log file.
        command: Program and arguments.
        stage: Stages start in ascending order, each when the one before is ready, and stop in
            descending order.
        ready: Whether the process does its work now; called every now and then.
        spoilt: Whether the process must be started anew though it runs; called all the while.
        answers: Whether the process gives any answer within so many seconds; asked every now and
            then once it has been ready, in another thread. One that hangs is killed.
        environment: Added to the environment of this process.
        afterwards: Command to run to its end each time the process has become ready.
    """

    name: str
    command: tuple[str, ...]
    stage: int
    ready: Callable[[], bool]
    spoilt: Callable[[], bool] = lambda: False
    answers: Callable[[float], bool] = lambda _seconds: True
    environment: Mapping[str, str] = field(default_factory=dict)
    afterwards: tuple[str, ...] = ()


class Process:
    """A running, or dead, instance of a Spec.

    Used by one thread, except for ``pid``, ``kill``, ``note`` and ``trim_log``.
    """

    def __init__(self, spec: Spec, log: Path, log_bytes: int = LOG_BYTES) -> None:
        """Takes what to run, and where its output goes: at most so many bytes in two files."""
        self.spec = spec
        self.log = log
        self._log_bytes = log_bytes
        self._running: subprocess.Popen[bytes] | None = None
        self._killed = False

    @property
    def pid(self) -> int | None:
        """Its process id, None while it does not run."""
        running = self._running
        return running.pid if running is not None and running.returncode is None else None

    def start(self) -> None:
        """Starts it, in a session of its own so that a Ctrl-C reaches only the supervisor."""
        self._killed = False
        self._running = self._spawn(self.spec.command)

    @property
    def was_killed(self) -> bool:
        """Whether it was sent a signal through this object since it was started last."""
        return self._killed

    def run_afterwards(self, timeout: float) -> bool:
        """Runs the command that follows readiness; whether it ended well within the timeout.

        It is cut short once the process itself has ended, which must not wait to be started again.
        """
        if not self.spec.afterwards:
            return True
        once = self._spawn(self.spec.afterwards)
        end = time.monotonic() + timeout
        while time.monotonic() < end and self.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return once.wait(_LOOK_SECONDS) == 0
        once.kill()
        once.wait()
        return False

    def poll(self) -> int | None:
        """Its exit status once it has ended, negative for a signal; None while it runs."""
        return None if self._running is None else self._running.poll()

    def ask_to_stop(self) -> None:
        """Sends SIGTERM."""
        self.kill(signal.SIGTERM)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends a signal to the process; one that does not run is left alone."""
        if self._running is not None:
            self._killed = True
            self._running.send_signal(number)

    def end(self, timeout: float) -> bool:
        """Waits for the end; after the timeout kills its whole process group. Whether it obeyed."""
        if self._running is None:
            return True
        try:
            self._running.wait(timeout)
            return True
        except subprocess.TimeoutExpired:
            os.killpg(self._running.pid, signal.SIGKILL)
            self._running.wait()
            return False

    def note(self, text: str) -> None:
        """Adds a line to its log file."""
        with self.log.open("a") as log:
            log.write(f"{text}\n")

    def last_lines(self, count: int = 5) -> str:
        """The end of its log."""
        lines: list[str] = []
        for path in (self.log, self._older):
            if len(lines) < count:
                lines = [*_end_of(path), *lines]
        return "\n".join(lines[-count:])

    def trim_log(self) -> None:
        """Sets the log aside once it fills its half of the bytes; the part before goes.

        The process writes into the same file all the while, at its end, and need not know.
        """
        try:
            with self.log.open("rb") as log:
                if os.fstat(log.fileno()).st_size <= self._log_bytes // 2:
                    return
                with contextlib.suppress(OSError), self._older.open("wb") as older:
                    # The disk may be full: then the log only begins anew. What is written while
                    # this reads is read as well, so that next to nothing is lost in between.
                    for _ in range(_CATCHES):
                        shutil.copyfileobj(log, older)
            os.truncate(self.log, 0)
        except OSError:
            return

    @property
    def _older(self) -> Path:
        return self.log.with_name(self.log.name + ".1")

    def _spawn(self, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
        launcher = (sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()))
        with self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own commands
                [*launcher, *command],
                env={**os.environ, **self.spec.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def _end_of(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _END_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
