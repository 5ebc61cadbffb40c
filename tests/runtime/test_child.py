"""Child processes: results, errors, death, cancellation, turns."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from biosegment.client.errors import (
    InvalidArgumentError,
    JobCancelledError,
    OutOfMemoryError,
    WorkerDiedError,
)
from biosegment.runtime.child import Child, ChildFailedError

TARGETS = "tests.runtime.child_targets"


@pytest.fixture
async def child() -> AsyncIterator[Child]:
    made = Child("test")
    yield made
    await made.close()


async def test_it_answers_reports_and_stays_warm(child: Child) -> None:
    reports: list[Any] = []
    first = await child.run(f"{TARGETS}:add", on_report=reports.append, a=1, b=2)
    second = await child.run(f"{TARGETS}:add", a=3, b=4)
    assert (first["sum"], second["sum"]) == (3, 7)
    assert first["pid"] == second["pid"] == child.pid
    assert reports == [{"half": 1}]


async def test_it_is_warm_before_the_first_task(child: Child, eventually: Any) -> None:
    stopping = asyncio.Event()
    loop = asyncio.create_task(child.keep_warm("colorsys", stopping))

    async def started() -> bool:
        return child.pid is not None

    await eventually(started)
    assert await child.run(f"{TARGETS}:has_loaded", module="colorsys")
    assert not await child.run(f"{TARGETS}:has_loaded", module="wave")
    assert not loop.done()
    stopping.set()
    await asyncio.wait_for(loop, 10)


async def test_what_cannot_be_loaded_stops_nobody(child: Child) -> None:
    stopping = asyncio.Event()
    loop = asyncio.create_task(child.keep_warm("no_such_module", stopping))
    # Queued behind the loading, which fails first.
    assert (await child.run(f"{TARGETS}:add", a=1, b=1))["sum"] == 2
    assert not loop.done()
    stopping.set()
    await asyncio.wait_for(loop, 10)


async def test_expected_errors_arrive_as_themselves(child: Child) -> None:
    with pytest.raises(InvalidArgumentError, match="No good") as caught:
        await child.run(f"{TARGETS}:refuse")
    assert caught.value.metadata == {"field": "x"}
    with pytest.raises(OutOfMemoryError):
        await child.run(f"{TARGETS}:run_out_of_memory")


async def test_unexpected_errors_bring_their_traceback(child: Child) -> None:
    with pytest.raises(ChildFailedError, match="one over nought") as caught:
        await child.run(f"{TARGETS}:crash")
    assert "child_targets.py" in str(caught.value)


async def test_a_killed_child_is_told_and_the_next_task_gets_a_new_one(child: Child) -> None:
    with pytest.raises(WorkerDiedError, match="-9"):
        await child.run(f"{TARGETS}:die")
    assert (await child.run(f"{TARGETS}:add", a=1, b=1))["sum"] == 2


async def test_a_stuck_child_is_killed_and_the_next_task_gets_a_new_one() -> None:
    child = Child("test", stall_seconds=1.5)
    reports: list[int] = []
    try:
        with pytest.raises(WorkerDiedError, match=r"had done nothing for 1\.5 s"):
            await child.run(f"{TARGETS}:hang", on_report=reports.append, reports=6)
        # Three seconds of them, twice what it may be silent for.
        assert reports == list(range(6))
        assert await child.run(f"{TARGETS}:compute", seconds=4) >= 4
        with pytest.raises(WorkerDiedError, match="out of memory"):
            await child.run(f"{TARGETS}:die")
    finally:
        await child.close()


async def test_who_waits_hears_of_the_end_though_another_process_is_there_already(
    child: Child, tmp_path: Path, eventually: Any
) -> None:
    started = tmp_path / "started"
    long = asyncio.create_task(child.run(f"{TARGETS}:until_cancelled", started=str(started)))

    async def runs() -> bool:
        return started.exists()

    await eventually(runs)
    child.kill()
    # Before the loop has heard of the end.
    assert (await child.run(f"{TARGETS}:add", urgent=True, a=1, b=1))["sum"] == 2
    with pytest.raises(WorkerDiedError):
        await asyncio.wait_for(long, 10)


async def test_cancellation_reaches_the_function(
    child: Child, tmp_path: Path, eventually: Any
) -> None:
    started, cancelled = tmp_path / "started", asyncio.Event()
    task = asyncio.create_task(
        child.run(f"{TARGETS}:until_cancelled", cancelled=cancelled, started=str(started))
    )

    async def runs() -> bool:
        return started.exists()

    await eventually(runs)
    cancelled.set()
    with pytest.raises(JobCancelledError):
        await task


async def test_a_function_that_is_asked_to_end_answers_with_what_it_has(
    child: Child, tmp_path: Path, eventually: Any
) -> None:
    started, enough, cancelled = tmp_path / "started", asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(
        child.run(
            f"{TARGETS}:until_enough", finishing=enough, cancelled=cancelled, started=str(started)
        )
    )

    async def runs() -> bool:
        return started.exists()

    await eventually(runs)
    assert not task.done()
    enough.set()
    assert await asyncio.wait_for(task, 10) == "what there is"
    # The next task is not in a hurry.
    started.unlink()
    again = asyncio.create_task(
        child.run(f"{TARGETS}:until_enough", cancelled=cancelled, started=str(started))
    )
    await eventually(runs)
    assert not again.done()
    cancelled.set()
    with pytest.raises(JobCancelledError):
        await again


async def test_what_can_wait_is_done_once_no_task_comes(
    child: Child, tmp_path: Path, eventually: Any
) -> None:
    log = tmp_path / "log"
    await child.run(f"{TARGETS}:tidy_up_later", path=str(log))

    async def tidy() -> bool:
        return log.read_text() == "task tidy "

    await eventually(tidy)
    assert (await child.run(f"{TARGETS}:add", a=1, b=1))["sum"] == 2
    await asyncio.sleep(1.5)
    assert log.read_text() == "task tidy "


async def test_urgent_tasks_go_first(child: Child, tmp_path: Path, eventually: Any) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    note = f"{TARGETS}:note"
    tasks = [asyncio.create_task(child.run(note, path=str(log), word="a", gate=str(gate)))]

    async def busy() -> bool:
        return (tmp_path / "gate-reached").exists()

    await eventually(busy)
    tasks.append(asyncio.create_task(child.run(note, path=str(log), word="c")))
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(child.run(note, urgent=True, path=str(log), word="b")))
    await asyncio.sleep(0)
    gate.touch()
    await asyncio.gather(*tasks)
    assert log.read_text() == "abc"


async def test_a_task_in_hand_lets_urgent_ones_by(child: Child, tmp_path: Path) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    note = f"{TARGETS}:note"
    long = asyncio.create_task(
        child.run(note, path=str(log), word="a", gate=str(gate), checking=True)
    )
    await child.run(note, urgent=True, path=str(log), word="b")
    with pytest.raises(InvalidArgumentError, match="No good"):
        await child.run(f"{TARGETS}:refuse", urgent=True)
    await child.run(note, urgent=True, path=str(log), word="c")
    assert not long.done()
    gate.touch()
    await long
    assert log.read_text() == "bca"


async def test_who_waits_for_an_urgent_task_hears_of_the_end_too(
    child: Child, tmp_path: Path, eventually: Any
) -> None:
    gate = tmp_path / "gate"
    long = asyncio.create_task(
        child.run(f"{TARGETS}:note", path=str(tmp_path / "log"), word="a", gate=str(gate))
    )

    async def busy() -> bool:
        return (tmp_path / "gate-reached").exists()

    await eventually(busy)
    urgent = asyncio.create_task(child.run(f"{TARGETS}:add", urgent=True, a=1, b=1))
    await asyncio.sleep(0)
    child.kill()
    for task in (long, urgent):
        with pytest.raises(WorkerDiedError, match="-9"):
            await task
    assert (await child.run(f"{TARGETS}:add", a=1, b=1))["sum"] == 2


async def test_a_cut_task_takes_its_process_with_it(
    child: Child, tmp_path: Path, eventually: Any
) -> None:
    started = tmp_path / "started"
    task = asyncio.create_task(child.run(f"{TARGETS}:until_cancelled", started=str(started)))

    async def runs() -> bool:
        return started.exists()

    await eventually(runs)
    pid = child.pid
    assert pid is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async def gone() -> bool:
        return not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"

    await eventually(gone)
    assert (await child.run(f"{TARGETS}:add", a=1, b=1))["sum"] == 2
