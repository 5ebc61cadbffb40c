"""The supervisor with small real processes."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from biosegment.cli.up import watch
from biosegment.cli.up.process import Process, Spec
from biosegment.cli.up.supervisor import Supervisor
from biosegment.client.errors import DeadlineError, NotFoundError, UnavailableError

# Says that it is up, and on SIGTERM says when it ended.
_WORKER = """
import pathlib, signal, sys, time
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
def stop(*_):
    with (folder / "ends").open("a") as file:
        file.write(name + " ")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
with (folder / "starts").open("a") as file:
    file.write(name + " ")
(folder / (name + ".up")).touch()
while True:
    signal.pause()
"""
_STUBBORN = _WORKER.replace("sys.exit(0)", "return")
_CRASHING = "import sys; print('it broke because of the test'); sys.exit(3)"


def spec(folder: Path, name: str, stage: int = 0, code: str = _WORKER, **options: object) -> Spec:
    return Spec(
        name=name,
        command=(sys.executable, "-c", code, str(folder), name),
        stage=stage,
        ready=(folder / f"{name}.up").exists,
        **options,  # type: ignore[arg-type]
    )


@contextmanager
def running(supervisor: Supervisor) -> Iterator[Supervisor]:
    supervisor.start(60)
    try:
        yield supervisor
    finally:
        supervisor.stop()


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.02)


def words(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def test_a_process_that_is_spoilt_is_started_anew_and_that_is_no_crash(tmp_path: Path) -> None:
    told: list[int] = []

    def spoilt() -> bool:
        """Three times, each once the process has said that it is there."""
        if len(told) == 3 or len(words(tmp_path / "starts")) <= len(told):
            return False
        told.append(1)
        return True

    one = spec(tmp_path, "one", spoilt=spoilt)
    with running(Supervisor([one], tmp_path, crash_limit=2)) as supervisor:
        until(lambda: words(tmp_path / "starts") == ["one"] * 4)
        assert not supervisor.wait(0.5)


# Answers whoever connects, as long as it is not stopped.
_ANSWERING = """
import pathlib, socket, sys
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
server = socket.create_server(("127.0.0.1", 0))
(folder / "port.new").write_text(str(server.getsockname()[1]))
(folder / "port.new").rename(folder / "port")
(folder / (name + ".up")).touch()
while True:
    connection, _ = server.accept()
    connection.sendall(b"here")
    connection.close()
"""


def test_a_process_that_hangs_is_killed_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PROBE_SECONDS", 1.0)

    def answers(seconds: float) -> bool:
        port = int((tmp_path / "port").read_text())
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
                return connection.recv(4) == b"here"
        except OSError:
            return False

    one = spec(tmp_path, "one", code=_ANSWERING, answers=answers)
    with running(Supervisor([one], tmp_path)) as supervisor:
        process = supervisor.process("one")
        first = process.pid
        process.kill(signal.SIGSTOP)
        until(lambda: process.pid not in (None, first))
        until(lambda: answers(1.0))
        assert f"killed process {first}: it hangs" in process.log.read_text()


def test_a_process_that_is_slow_to_answer_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PROBE_SECONDS", 0.02)
    asked: list[bool] = []

    def answers(_seconds: float) -> bool:
        """One answer fewer in a row than would be a hang, again and again."""
        asked.append(len(asked) % watch.MISSES == watch.MISSES - 1)
        return asked[-1]

    one = spec(tmp_path, "one", answers=answers)
    with running(Supervisor([one], tmp_path)) as supervisor:
        first = supervisor.process("one").pid
        until(lambda: len(asked) > 10 * watch.MISSES)
        assert supervisor.process("one").pid == first
    assert words(tmp_path / "starts") == ["one"]


def test_a_process_that_starts_owes_no_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PROBE_SECONDS", 0.02)
    asked: list[bool] = []

    def answers(_seconds: float) -> bool:
        asked.append((tmp_path / "one.up").exists())
        return True

    # The second one takes until it is told.
    code = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
while (folder / "starts").exists() and not (folder / "go").exists():
    time.sleep(0.01)
"""
    one = spec(tmp_path, "one", code=code + _WORKER, answers=answers)
    with running(Supervisor([one], tmp_path)) as supervisor:
        first = supervisor.process("one").pid
        until(lambda: len(asked) > 0)
        (tmp_path / "one.up").unlink()
        supervisor.process("one").kill()
        until(lambda: supervisor.process("one").pid not in (None, first))
        before = len(asked)
        time.sleep(10 * watch.PROBE_SECONDS)
        assert len(asked) <= before + 1  # One may have been on its way.
        (tmp_path / "go").touch()
        until(lambda: len(asked) > before + 1)
        assert asked[-1]


def test_stages_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    specs = [spec(tmp_path, "top", 2), spec(tmp_path, "base", 0), spec(tmp_path, "middle", 1)]
    with running(Supervisor(specs, tmp_path)) as supervisor:
        assert words(tmp_path / "starts") == ["base", "middle", "top"]
        pids = [supervisor.process(name).pid for name in ("base", "middle", "top")]
        assert all(pid is not None and psutil.pid_exists(pid) for pid in pids)
    assert words(tmp_path / "ends") == ["top", "middle", "base"]
    assert not any(psutil.pid_exists(pid) for pid in pids if pid is not None)


def test_a_process_that_dies_is_started_again_and_followed_up(tmp_path: Path) -> None:
    note = f"import pathlib; p = pathlib.Path({str(tmp_path / 'after')!r}); "
    note += "p.open('a').write('done ')"
    once = spec(tmp_path, "one", afterwards=(sys.executable, "-c", note))
    with running(Supervisor([once], tmp_path)) as supervisor:
        assert words(tmp_path / "after") == ["done"]
        first = supervisor.process("one").pid
        supervisor.process("one").kill()
        until(lambda: words(tmp_path / "after") == ["done", "done"])
        second = supervisor.process("one").pid
        assert second is not None
        assert second != first


def test_what_dies_while_its_afterwards_runs_does_not_wait_for_it(tmp_path: Path) -> None:
    note = f"""
import pathlib, time
folder = pathlib.Path({str(tmp_path)!r})
with (folder / "after").open("a") as file:
    file.write("begun ")
time.sleep(60 if (folder / "after").read_text().split() == ["begun"] * 2 else 0)
"""
    once = spec(tmp_path, "one", afterwards=(sys.executable, "-c", note))
    with running(Supervisor([once], tmp_path)) as supervisor:
        supervisor.process("one").kill()
        until(lambda: words(tmp_path / "after") == ["begun"] * 2)
        supervisor.process("one").kill()
        until(lambda: words(tmp_path / "after") == ["begun"] * 3)


def test_a_crash_loop_gives_up_and_shows_the_log(tmp_path: Path) -> None:
    specs = [spec(tmp_path, "good", 0), spec(tmp_path, "bad", 1, _CRASHING)]
    supervisor = Supervisor(specs, tmp_path, crash_limit=3)
    with pytest.raises(UnavailableError, match="bad ended 3 times") as caught:
        supervisor.start(60)
    assert "it broke because of the test" in caught.value.message
    assert str(tmp_path / "bad.log") in caught.value.message
    assert words(tmp_path / "ends") == ["good"]
    assert supervisor.process("good").pid is None


def test_a_crash_loop_later_on_ends_the_waiting(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    code = f"import os\nif os.path.exists({str(flag)!r}):\n    raise SystemExit(4)\n" + _WORKER
    supervisor = Supervisor([spec(tmp_path, "turning", code=code)], tmp_path, crash_limit=3)
    supervisor.start(60)
    assert supervisor.wait(0) is False
    flag.touch()
    supervisor.process("turning").kill()
    with pytest.raises(UnavailableError, match="last with status 4"):
        supervisor.wait(60)
    supervisor.stop()


def test_a_process_that_is_killed_through_the_supervisor_is_no_crash(tmp_path: Path) -> None:
    with running(Supervisor([spec(tmp_path, "one")], tmp_path, crash_limit=2)) as supervisor:
        for count in range(1, 4):
            until(lambda count=count: words(tmp_path / "starts") == ["one"] * count)
            supervisor.process("one").kill()
        until(lambda: words(tmp_path / "starts") == ["one"] * 4)
        assert not supervisor.wait(0.5)


def test_what_is_never_ready_is_named(tmp_path: Path) -> None:
    slow = Spec(
        name="slow",
        command=(sys.executable, "-c", "print('still loading', flush=True); input()"),
        stage=0,
        ready=lambda: False,
    )
    asleep = Spec(
        name="asleep",
        command=(sys.executable, "-c", "import signal; signal.pause()"),
        stage=0,
        ready=lambda: False,
    )
    with pytest.raises(DeadlineError, match=r"Not ready in time: .*asleep"):
        Supervisor([slow, asleep], tmp_path, crash_limit=1000).start(1.0)


def test_what_does_not_obey_is_killed(tmp_path: Path) -> None:
    supervisor = Supervisor([spec(tmp_path, "mule", code=_STUBBORN)], tmp_path, stop_seconds=0.5)
    supervisor.start(60)
    pid = supervisor.process("mule").pid
    assert pid is not None
    supervisor.stop()
    assert words(tmp_path / "ends") == ["mule"]
    assert not psutil.pid_exists(pid)
    assert supervisor.wait(0) is True


def test_nothing_survives_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    program = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from tests.cli.test_cli_supervisor import Supervisor, spec
folder = Path({str(tmp_path)!r})
supervisor = Supervisor([spec(folder, "child")], folder)
supervisor.start(60)
print(supervisor.process("child").pid, flush=True)
supervisor.wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    assert child.is_running()
    parent.send_signal(signal.SIGKILL)
    parent.wait(30)
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert words(tmp_path / "ends") == []


def test_a_process_of_no_name(tmp_path: Path) -> None:
    supervisor = Supervisor([spec(tmp_path, "one")], tmp_path)
    with pytest.raises(NotFoundError, match="there are one"):
        supervisor.process("two")
    supervisor.stop()


_CHATTY = """
import os, pathlib, sys, time
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
(folder / (name + ".up")).touch()
while not (folder / "quiet").exists():
    os.write(1, b"so much to say\\n" * 5000)
    time.sleep(0.002)
time.sleep(1)
print("its last words", flush=True)
sys.exit(3)
"""


def test_the_logs_of_a_process_that_floods_them_stay_small(tmp_path: Path) -> None:
    one = spec(tmp_path, "one", code=_CHATTY)
    supervisor = Supervisor([one], tmp_path, crash_limit=1, log_bytes=2 << 20)
    supervisor.start(60)
    older, log = tmp_path / "one.log.1", tmp_path / "one.log"
    seen = 0
    for _ in range(3):
        # Each time the log begins anew there was one before it.
        until(lambda seen=seen: older.exists() and older.stat().st_mtime_ns != seen)
        seen = older.stat().st_mtime_ns
    (tmp_path / "quiet").touch()
    with pytest.raises(UnavailableError, match="its last words"):
        supervisor.wait(60)
    # 2 MiB, and what was written while nobody looked; without bounds it were ever more.
    assert log.stat().st_size + older.stat().st_size < 40 << 20


def test_a_log_is_set_aside_while_its_process_writes_on(tmp_path: Path) -> None:
    process = Process(spec(tmp_path, "one"), tmp_path / "one.log", log_bytes=2 << 20)
    assert process.last_lines() == ""
    process.trim_log()
    with process.log.open("ab", buffering=0) as writer:
        writer.write(b"x" * (1 << 20))
        process.trim_log()
        assert process.log.stat().st_size == 1 << 20
        writer.write(b"\n")
        process.trim_log()
        assert (tmp_path / "one.log.1").stat().st_size == (1 << 20) + 1
        writer.write(b"a\nb\nc\n")
    assert process.log.read_bytes() == b"a\nb\nc\n"
    assert process.last_lines(2) == "b\nc"
    process.kill()
    assert process.poll() is None
    assert process.end(0) is True


def test_each_step_of_the_start_is_told_and_what_happens_is_noted(tmp_path: Path) -> None:
    told: list[str] = []
    specs = [spec(tmp_path, "base", 0), spec(tmp_path, "top", 1)]
    with running(Supervisor(specs, tmp_path, told=told.append)) as supervisor:
        assert [line.split(" after ")[0] for line in told] == ["1/2 base is up", "2/2 top is up"]
        supervisor.process("top").kill()
        until(lambda: "top is up again" in (tmp_path / "up.log").read_text())
    notes = [line.partition(" ")[2] for line in (tmp_path / "up.log").read_text().splitlines()]
    assert notes == [
        "starting base, top",
        "base is up",
        "top is up",
        "top ended with status -9",
        "top is up again",
        "stopped",
    ]
    ended = f"top ended with status -9 and is started again; its log is {tmp_path}/top.log"
    assert told[2:] == [ended, "top is up again"]


def test_the_note_says_why_all_was_stopped(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        Supervisor([spec(tmp_path, "bad", code=_CRASHING)], tmp_path, crash_limit=2).start(60)
    assert "stopping everything: bad ended 2 times" in (tmp_path / "up.log").read_text()
