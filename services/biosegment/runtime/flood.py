"""Bounds on a log: lines that repeat are counted instead of written, and none is long.

A peer that is refused a thousand times a second must not fill the disk with it.
"""

import logging
import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Any

WINDOW_SECONDS = 10.0
LINES = 20
"""Of one kind in a window; the rest of them are counted."""
_KINDS = 500
_VALUE_CHARACTERS = 4000
_TRACE_CHARACTERS = 16_000
_LIST_ITEMS = 100


class Flood(logging.Filter):
    """Lets so many lines of a kind pass in a window, and says afterwards how many did not.

    A kind is a logger, its event, and the RPC and reason that the line names.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self._seen: dict[tuple[str, ...], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        kind = _kind(record)
        with self._lock:
            now = self._clock()
            if now >= self._began + WINDOW_SECONDS:
                over = {key: seen - LINES for key, seen in self._seen.items() if seen > LINES}
                self._began, self._seen = now, {}
            else:
                over = {}
            if kind not in self._seen and len(self._seen) >= _KINDS:
                # Kinds without number are one kind.
                kind = ("", "more kinds of lines than are told apart")
            seen = self._seen[kind] = self._seen.get(kind, 0) + 1
        for key, count in over.items():
            self._tell(record, key, count)
        return seen <= LINES

    def _tell(self, record: logging.LogRecord, kind: tuple[str, ...], count: int) -> None:
        summary = logging.LogRecord(
            __name__,
            logging.WARNING,
            record.pathname,
            record.lineno,
            "%d more lines like this within %g s were not written: %s",
            (count, WINDOW_SECONDS, " ".join(part for part in kind if part)),
            None,
        )
        for handler in logging.getLogger().handlers:
            if self in handler.filters:
                # Past the filter, or it would count its own lines.
                handler.acquire()
                try:
                    handler.emit(summary)
                finally:
                    handler.release()


def _kind(record: logging.LogRecord) -> tuple[str, ...]:
    if isinstance(record.msg, dict):
        names = ("event", "rpc", "reason")
        return (record.name, *(str(record.msg.get(name, ""))[:200] for name in names))
    return (record.name, str(record.msg)[:200])


def short(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor that cuts values which are too long to read."""
    for key, value in event.items():
        event[key] = _cut(value, _TRACE_CHARACTERS if key == "exception" else _VALUE_CHARACTERS)
    return event


def _cut(value: Any, most: int) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, list | tuple | set | frozenset) and len(value) > _LIST_ITEMS:
        value = [*list(value)[:_LIST_ITEMS], f"and {len(value) - _LIST_ITEMS} more"]
    text = value if isinstance(value, str) else repr(value)
    if len(text) <= most:
        return value
    half = most // 2
    return f"{text[:half]} … {len(text) - 2 * half} characters left out … {text[-half:]}"
