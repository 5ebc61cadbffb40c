"""What a look may meet: a file system that does not answer."""

from pathlib import Path
from typing import Any


def wait_for_ever(_context: Any, *, path: str) -> None:
    """Opens a named pipe that nobody writes to: like a mount that is asleep, it never returns."""
    Path(path).read_bytes()
