"""Watches a process for hanging, which the kernel tells nobody of, unlike its death.

A process that is stopped, or whose event loop is blocked, stays and answers nobody. It is asked for
an answer all the while, and killed once it owes several in a row; the supervisor then starts it
anew, as after any death. One that is slow answers within the deadline now and then, and stays.
Nothing is measured but probes, on the monotonic clock: a machine that was suspended, and everything
on it with it, costs one of them at most.
"""

import contextlib
import threading
import time
from collections.abc import Callable

from biosegment.cli.up.process import Process

PROBE_SECONDS = 20.0
"""A process may take this long to answer; it is asked this often."""
MISSES = 3
"""So many answers in a row may a process owe before it is killed."""


class Watch(threading.Thread):
    """Asks one process for answers until the stopping event is set."""

    def __init__(
        self, process: Process, settled: Callable[[], bool], stopping: threading.Event
    ) -> None:
        """Takes the process, and whether it is past its start: before, it owes no answers."""
        super().__init__(name=f"watch {process.spec.name}", daemon=True)
        self._process = process
        self._settled = settled
        self._stopping = stopping

    def run(self) -> None:
        """Probes, and kills what owes too many answers."""
        misses, watched, pause = 0, None, PROBE_SECONDS
        while not self._stopping.wait(pause):
            began = time.monotonic()
            pid = self._process.pid if self._settled() else None
            if pid is None or pid != watched:
                # Another process owes nothing of what the one before it did.
                misses, watched = 0, pid
            if pid is not None:
                misses = 0 if self._process.spec.answers(PROBE_SECONDS) else misses + 1
            if misses >= MISSES and self._process.pid == pid and not self._stopping.is_set():
                self._process.kill()
                misses = 0
                with contextlib.suppress(OSError):  # The disk may be full.
                    self._process.note(
                        f"`biosegment up` killed process {pid}: it hangs or does no work, {MISSES} "
                        f"probes of {PROBE_SECONDS:g} s in a row had no good answer."
                    )
            pause = max(0.0, began + PROBE_SECONDS - time.monotonic())
