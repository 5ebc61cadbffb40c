"""Functions that the tests run in a child process."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from biosegment.client.errors import InvalidArgumentError
from biosegment.runtime.child import ChildContext, when_idle


def add(context: ChildContext, a: int, b: int) -> dict[str, Any]:
    context.report({"half": a})
    return {"sum": a + b, "pid": os.getpid()}


def has_loaded(context: ChildContext, module: str) -> bool:
    return module in sys.modules


def refuse(context: ChildContext) -> None:
    raise InvalidArgumentError("No good.", field="x")


def crash(context: ChildContext) -> None:
    raise ZeroDivisionError("one over nought")


def run_out_of_memory(context: ChildContext) -> None:
    raise MemoryError("too much")


def die(context: ChildContext) -> None:
    os.kill(os.getpid(), 9)


def hang(context: ChildContext, reports: int = 0) -> None:
    """Says a few things, one each half second, then nothing."""
    for number in range(reports):
        context.report(number)
        time.sleep(0.5)
    time.sleep(60)


def compute(context: ChildContext, seconds: float) -> float:
    """Says nothing, but works."""
    begin, number = time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        number += 1
    return time.monotonic() - begin


def until_cancelled(context: ChildContext, started: str) -> None:
    Path(started).touch()
    while True:
        context.check()
        time.sleep(0.01)


def note(
    context: ChildContext, path: str, word: str, gate: str = "", checking: bool = False
) -> None:
    if gate:
        Path(gate + "-reached").touch()
    deadline = time.monotonic() + 30
    while gate and not Path(gate).exists() and time.monotonic() < deadline:
        if checking:
            context.check()
        time.sleep(0.01)
    with Path(path).open("a") as file:
        file.write(word)


def tidy_up_later(context: ChildContext, path: str) -> None:
    def tidy() -> None:
        with Path(path).open("a") as file:
            file.write("tidy ")

    when_idle(tidy)
    when_idle(tidy)
    with Path(path).open("a") as file:
        file.write("task ")


def until_enough(context: ChildContext, started: str) -> str:
    """Works until it is asked to end with what it has, or to stop."""
    Path(started).touch()
    while not context.finishing:
        context.check()
        time.sleep(0.01)
    return "what there is"
