"""What a person sees while the demo runs, on stderr."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status

from biosegment.v1.jobs_pb2 import Job


class Display:
    """One line for what is done, one that changes for what is going on."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """A line that stays, after the minutes and seconds since the start."""
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        self._console.print(f"{minutes:2d}:{seconds:02d}  {text}")

    @contextmanager
    def doing(self, text: str) -> Iterator["Doing"]:
        """Shows what is going on, where there is a terminal."""
        with self._console.status(f"       {text} …") as status:
            yield Doing(status)


class Doing:
    """What is going on."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def text(self, text: str) -> None:
        """Changes the line."""
        self._status.update(f"       {text} …")

    def job(self, what: str, job: Job) -> None:
        """Shows how far a job is."""
        progress = job.progress
        parts = [what]
        if progress.total:
            parts.append(f"{progress.done}/{progress.total} {progress.stage}")
        if "loss" in progress.figures:
            parts.append(f"loss {progress.figures['loss']:.3f}")
        self.text(", ".join(parts))
