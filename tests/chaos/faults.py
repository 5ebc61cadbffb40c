"""The faults, each a function that inflicts one and returns what it did, in a few words."""

import asyncio
import signal
import time
from collections.abc import Callable
from random import Random

from biosegment.client.connection import SERVICES
from biosegment.client.verbs.jobs import ENDED
from biosegment.runtime.bus import Bus
from biosegment.runtime.provision import block_subject, job_subject
from biosegment.v1 import events_pb2, jobs_pb2
from tests.chaos.stand import BLOCKS, LEASE_SECONDS, Stand, insist, resize_disk

Fault = Callable[[Stand, Random, str], str]
_PAST_EVERY_TIMEOUT = 35.0
"""Seconds. The longest is that of the broker's acks, 30."""
_TAKEOVER_SECONDS = 30.0
_NOBODY = "nobody took it over"
_HANGING_SECONDS = 120.0
_SPARED_SECONDS = 60.0
_MOST_DEATHS = 3


class Kills:
    """SIGKILL, sparing a process that died often of late: `up` gives up where one keeps dying."""

    def __init__(self) -> None:
        self._deaths: dict[str, list[float]] = {}

    def of(self, name: str) -> Fault:
        """The fault that kills a process of the platform, with all that is below it."""

        def kill(stand: Stand, _random: Random, _job: str) -> str:
            recent = [
                t for t in self._deaths.get(name, []) if time.monotonic() - t < _SPARED_SECONDS
            ]
            if len(recent) >= _MOST_DEATHS:
                return ""
            self._deaths[name] = [*recent, time.monotonic()]
            pid = stand.platform.process(name)
            stand.platform.kill(name)
            return f"process {pid}"

        return kill


def kill_worker(stand: Stand, _random: Random, _job: str) -> str:
    """Kills the second worker, and starts it again as a cluster would."""
    pid = stand.worker.ensure()
    stand.signal(pid, signal.SIGKILL)
    stand.worker.ensure()
    return f"process {pid}"


def kill_child(stand: Stand, random: Random, _job: str) -> str:
    """Kills the process below a worker that runs torch."""
    pids = [stand.worker.ensure(), stand.platform.process("inference") or 0]
    random.shuffle(pids)
    for pid in pids:
        # The last is the worker itself; multiprocessing's resource tracker is left alone.
        for child in stand.family(pid)[:-1] if pid else ():
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()
                return f"process {child.pid} below {pid}"
    return ""


def pause_broker(stand: Stand, _random: Random, _job: str) -> str:
    """Stops the broker for longer than anybody waits for it, and lets it go on."""
    return _pause(stand, "nats", _PAST_EVERY_TIMEOUT)


def pause_service(stand: Stand, random: Random, _job: str) -> str:
    """Stops a service past the lease, and lets it go on."""
    name = random.choice([name for name in SERVICES if name != "inference"])
    return _pause(stand, name, LEASE_SECONDS + random.uniform(1, 3))


def _pause(stand: Stand, name: str, seconds: float) -> str:
    pid = stand.platform.process(name)
    if pid is None:
        return ""
    stand.signal(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        stand.signal(pid, signal.SIGCONT)
    return f"{name}, process {pid}, for {seconds:.0f} s"


def fill_disk(stand: Stand, random: Random, _job: str) -> str:
    """Leaves no byte on the disk of record, store and broker for a while."""
    seconds = random.uniform(1, 4)
    resize_disk(stand.disk, full=True)
    try:
        time.sleep(seconds)
    finally:
        resize_disk(stand.disk, full=False)
    return f"for {seconds:.1f} s"


def double_messages(stand: Stand, random: Random, job: str) -> str:
    """Publishes every wake-up that the job ever had, twice more, in another order."""
    blocks = [
        (block_subject("segment"), events_pb2.BlocksWakeup(job=job, first_block=n))
        for n in range(BLOCKS)
    ]
    messages = 2 * [*blocks, (job_subject("segment"), events_pb2.JobWakeup(job=job))]
    random.shuffle(messages)
    environment = stand.platform._running.process("registry").spec.environment

    async def publish() -> None:
        bus = Bus(environment["BIOSEGMENT_NATS_URL"])
        await bus.connect()
        try:
            for subject, message in messages:
                identity = f"chaos-{random.getrandbits(64):x}"
                await bus.publish(subject, message.SerializeToString(), identity)
        finally:
            await bus.close()

    asyncio.run(asyncio.wait_for(publish(), 90))
    return f"{len(messages)} messages"


def hang_service(stand: Stand, random: Random, _job: str) -> str:
    """Stops a process of the platform for good; `up` must see that it hangs."""
    name = random.choice([*SERVICES, "gateway", "nats"])
    pid = stand.platform.process(name)
    if pid is None:
        return ""
    stand.signal(pid, signal.SIGSTOP)
    end = time.monotonic() + _HANGING_SECONDS
    while time.monotonic() < end:
        if stand.platform.process(name) not in (None, pid):
            return f"{name}, process {pid}"
        time.sleep(0.1)
    raise TimeoutError(f"{name} has hung for {_HANGING_SECONDS:.0f} s and was not started anew")


def two_holders(stand: Stand, random: Random, job: str) -> str:
    """Stops a worker that holds a block until another has taken it over, then lets it go on."""
    return _two_holders(stand, random, job, lambda: True)


def cancel_and_retry(stand: Stand, random: Random, job: str) -> str:
    """The same, and the job is cancelled and retried before another takes the block over."""

    def begin_again() -> bool:
        insist(lambda: stand.client.cancel(job))
        end = time.monotonic() + _TAKEOVER_SECONDS
        while (state := stand.job(job).state) not in ENDED and time.monotonic() < end:
            time.sleep(0.1)
        if state != jobs_pb2.JOB_STATE_CANCELLED:
            return False
        stand.cancelled[job] += 1
        request = jobs_pb2.RetryJobRequest(name=job, request_id=f"{job}-{time.time_ns()}")
        insist(lambda: stand.stubs.jobs.RetryJob(request, timeout=10))
        return True

    return _two_holders(stand, random, job, begin_again)


def _two_holders(stand: Stand, random: Random, job: str, between: Callable[[], bool]) -> str:
    pids = [stand.worker.ensure(), stand.platform.process("inference") or 0]
    random.shuffle(pids)
    held = _held_by(stand, job, pids, 5.0)
    if held is None:
        return ""
    pid, first, attempt = held
    log = stand.worker.log if pid == stand.worker.ensure() else stand.platform.log("inference")
    began = log.stat().st_size
    stand.signal(pid, signal.SIGSTOP)
    try:
        how = _taken_over(stand, job, first, attempt) if between() else _NOBODY
    finally:
        stand.signal(pid, signal.SIGCONT)
    if how == _NOBODY:
        return f"block {first} of process {pid}: {how}"
    end = time.monotonic() + _TAKEOVER_SECONDS
    while time.monotonic() < end:
        with log.open("rb") as file:
            file.seek(began)
            if b"LEASE_LOST" in file.read():
                return f"block {first} of process {pid}: {how}, and the fence refused the first"
        time.sleep(0.1)
    # It had nothing more to say of it, or said what stood already.
    return f"block {first} of process {pid}: {how}, and nothing came of the first"


def _held_by(
    stand: Stand, job: str, pids: list[int], seconds: float
) -> tuple[int, int, int] | None:
    """Process, block and attempt of a run that one of some processes holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        query = "select first, attempt, holder from run where job = ? and holder != ''"
        for first, attempt, holder in stand.rows(query, job):
            pid = int(holder.split("/")[1])
            if pid in pids:
                return pid, first, attempt
        time.sleep(0.01)
    return None


def _taken_over(stand: Stand, job: str, first: int, attempt: int) -> str:
    end = time.monotonic() + _TAKEOVER_SECONDS
    while time.monotonic() < end:
        query = "select attempt, holder from run where job = ? and first = ?"
        found = stand.rows(query, job, first)
        if not found:
            return "taken over and settled"
        if found[0][0] > attempt and found[0][1]:
            return "taken over"
        time.sleep(0.01)
    return _NOBODY


def all_faults(*, fillable: bool) -> dict[str, tuple[Fault, int]]:
    """Every fault by its name, and how often it is drawn against the others."""
    kills = Kills()
    found: dict[str, tuple[Fault, int]] = {
        f"kill {name}": (kills.of(name), 3 if name in ("inference", "registry", "storage") else 2)
        for name in (*SERVICES, "gateway", "nats")
    }
    found |= {
        "kill second worker": (kill_worker, 4),
        "kill torch child": (kill_child, 5),
        "pause broker": (pause_broker, 1),
        "pause service": (pause_service, 2),
        "double and reorder": (double_messages, 4),
        "two holders": (two_holders, 5),
        "cancel and retry": (cancel_and_retry, 4),
        "hang": (hang_service, 1),
    }
    if fillable:
        found["disk full"] = (fill_disk, 3)
    return found
