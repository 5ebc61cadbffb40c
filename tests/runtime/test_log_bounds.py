"""What a process writes to its log, and what it only counts."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from biosegment.runtime import flood, log


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the filter sees; a test moves it."""
    now = [1000.0]
    real = flood.Flood
    monkeypatch.setattr(log, "Flood", lambda: real(lambda: now[0]))
    return now


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> Iterator["Lines"]:
    """A process's log as `up` reads it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", written)
        log.configure("test", "info", "json")
    yield Lines(written)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class Lines:
    def __init__(self, written: io.StringIO) -> None:
        self._written = written

    @property
    def size(self) -> int:
        return len(self._written.getvalue())

    def __call__(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._written.getvalue().splitlines()]


def test_equal_lines_are_counted_and_the_count_is_told(lines: Lines, clock: list[float]) -> None:
    logger = log.get("x")
    for n in range(5000):
        logger.info("call.refused", rpc="/a/B", reason="NOT_FOUND", message=f"no. {n}")
    assert len(lines()) == flood.LINES
    clock[0] += flood.WINDOW_SECONDS
    logger.info("something.else")
    summary, last = lines()[-2:]
    assert str(5000 - flood.LINES) in str(summary["event"])
    assert "call.refused /a/B NOT_FOUND" in str(summary["event"])
    assert last["event"] == "something.else"


def test_a_flood_does_not_hide_other_lines(lines: Lines) -> None:
    logger = log.get("x")
    for _ in range(1000):
        logger.info("call.refused", rpc="/a/B", reason="NOT_FOUND")
    logger.info("call.refused", rpc="/a/C", reason="NOT_FOUND")
    logger.info("call.refused", rpc="/a/B", reason="OUTSIDE_VOLUME")
    logger.error("call.failed", rpc="/a/B")
    assert len(lines()) == flood.LINES + 3


def test_lines_of_libraries_are_counted_too(lines: Lines) -> None:
    for n in range(1000):
        logging.getLogger("uvicorn.error").warning("Invalid request %d", n)
    assert len(lines()) == flood.LINES


def test_kinds_without_number_are_one_kind(lines: Lines) -> None:
    for n in range(100_000):
        logging.getLogger("library").warning(f"invalid request {n}")  # noqa: G004
    assert len(lines()) <= 500 + flood.LINES


def test_after_the_window_lines_are_written_again(lines: Lines, clock: list[float]) -> None:
    logger = log.get("x")
    for _ in range(3):
        for _ in range(100):
            logger.info("call.refused")
        clock[0] += flood.WINDOW_SECONDS
    logger.info("end")
    assert [line["event"] for line in lines()].count("call.refused") == 3 * flood.LINES


def test_long_values_are_cut(lines: Lines) -> None:
    logger = log.get("x")
    logger.info("a", message="m" * 1_000_000, many=list(range(100_000)), path="p" * 10)
    try:
        raise ValueError("v" * 1_000_000)
    except ValueError:
        logger.exception("b")
    logging.getLogger("library").warning("%s", "w" * 1_000_000)
    assert lines.size < 60_000
    first, second, third = lines()
    assert first["path"] == "p" * 10
    assert "characters left out" in str(first["message"])
    assert str(second["exception"]).startswith("Traceback")
    assert str(third["event"]).startswith("www")
