"""Whatever asks the file system about paths of requests, in child processes.

A folder may lie on a mount that sleeps, and then no call to it returns, nor can the thread that
made it be ended. In threads of the service a few such imports would take every thread there is.
Here each takes one of a few processes, for as long as it does nothing; then it is killed.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biosegment.client.errors import (
    DomainError,
    FailedPreconditionError,
    InvalidArgumentError,
    WorkerDiedError,
)
from biosegment.client.grants import is_granted
from biosegment.client.label_values import LabelReader
from biosegment.ingest import class_check, placing
from biosegment.ingest.readers import folder
from biosegment.ingest.readers.base import Reading, Stack
from biosegment.ingest.roots import Roots
from biosegment.runtime.child import Child, ChildContext

_AT_ONCE = 4
_STALL_SECONDS = 20.0
_PAGES_PER_REPORT = 16


class Looks:
    """A few child processes that look at files. Make it inside the event loop that uses it."""

    def __init__(self, *, at_once: int = _AT_ONCE, stall_seconds: float = _STALL_SECONDS) -> None:
        """Starts nothing yet.

        Args:
            at_once: Processes, and so looks that may hang without keeping others waiting.
            stall_seconds: A look that does nothing for so long is given up.
        """
        self._seconds = stall_seconds
        self._children = [Child("look", stall_seconds=stall_seconds) for _ in range(at_once)]
        # The one used last is the warmest.
        self._free: asyncio.LifoQueue[Child] = asyncio.LifoQueue()
        for child in reversed(self._children):
            self._free.put_nowait(child)

    async def run(self, task: str, *, path: str, **more: Any) -> Any:
        """Runs one of the functions below, by its name; or another one, as "module:function".

        Raises:
            FailedPreconditionError: The file system did not answer.
            DomainError: The function's.
        """
        child = await self._free.get()
        try:
            target = task if ":" in task else f"{__name__}:{task}"
            return await child.run(target, path=path, **more)
        except WorkerDiedError as error:
            if error.metadata.get("exit_code") != "-9":
                raise
            raise FailedPreconditionError(
                f"{path[:200]} did not answer for {self._seconds:g} s; is it on a disk or a "
                "network mount that is gone or asleep? Try again when it answers.",
                path=path[:200],
            ) from None
        finally:
            self._free.put_nowait(child)

    async def close(self) -> None:
        """Ends the processes."""
        await asyncio.gather(*(child.close() for child in self._children))


@dataclass(frozen=True, slots=True)
class Source:
    """What an import may read, and why.

    Attributes:
        roots: The allowed folders.
        volume: The volume that it makes.
        grant: Proof that whoever asks could read it himself; "" where there is none.
        key: What grants are made with.
    """

    roots: Roots
    volume: str
    grant: str
    key: bytes | None

    def real(self, path: str) -> tuple[Path, Roots]:
        """The real path, and the folders in which files that it links to may lie.

        Raises:
            InvalidArgumentError: It is not absolute, or there is nothing.
            PathNotAllowedError: It is not allowed.
        """

        def granted(real: Path) -> bool:
            return is_granted(self.key, real, self.volume, self.grant)

        real = self.roots.existing(path, granted)
        return real, self.roots.with_root(real) if granted(real) else self.roots


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidArgumentError(
            f"{path[:200]} cannot be used: {error.strerror or error}.", path=path[:200]
        ) from None


def scan(context: ChildContext, *, path: str, source: Source, reading: Reading) -> Stack:
    """Finds and scans a source.

    Raises:
        InvalidArgumentError: It cannot be read.
        PathNotAllowedError: It lies outside the roots.
    """

    def check() -> None:
        context.check()
        context.report(None)

    with _explained(path):
        real, roots = source.real(path)
        stack = folder.scan(real, reading, roots.existing, check)
        # What no header says, such as colours or a missing decoder, most files show on page one.
        next(stack.pages())
        return stack


def check_classes(
    context: ChildContext, *, path: str, stack: Stack, labels: LabelReader, voxels: int
) -> None:
    """Checks the numbers of labels until so many voxels have been seen.

    Raises:
        InvalidArgumentError: They hold a number without a meaning, or one that could have two.
    """

    def check() -> None:
        context.check()
        context.report(None)

    with _explained(path):
        class_check.check_all(stack, labels, voxels=voxels, check=check)


def check_new(_context: ChildContext, *, path: str, roots: Roots) -> None:
    """Checks that an export may be written at a path."""
    with _explained(path):
        roots.new(path)


def prepare(
    _context: ChildContext, *, path: str, roots: Roots, job: str
) -> tuple[Path, int | None]:
    """Tidies up after earlier attempts of an export.

    Returns:
        The destination, and the bytes of what an attempt has put there; None if none has.
    """
    with _explained(path):
        destination = roots.inside(path)
        placing.remove_drafts(destination, job)
        size = placing.placed(destination, job)
        if size is None:
            roots.new(path)
        return destination, size


def place(_context: ChildContext, *, path: str, draft: Path, job: str, size: int) -> None:
    """Puts a finished draft at its destination; see ``placing.place``."""
    with _explained(path):
        placing.place(draft, Path(path), job, size)


def remove(_context: ChildContext, *, path: str) -> None:
    """Removes a draft."""
    with _explained(path):
        placing.remove(Path(path))


def tidy(_context: ChildContext, *, path: str, roots: Roots, job: str, done: bool) -> None:
    """Removes what an ended export left beside its destination."""
    try:
        destination = roots.inside(path)
    except DomainError:
        return  # The folder is no longer allowed.
    with _explained(path):
        placing.remove_drafts(destination, job)
        # One that failed or was cancelled after its output was there may be retried.
        if done or placing.placed(destination, job) is None:
            placing.forget(destination, job)
