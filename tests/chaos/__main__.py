"""Faults inflicted on a running platform until it shows a defect, or has borne them all.

``python -m tests.chaos [--seed N] [--faults N]`` segments a volume of 40 blocks and exports another
over and over while somebody paints, kills and stops parts of the platform as a seeded generator
says, and compares each output with that of an undisturbed run. The last line is one JSON object;
the exit status is 1 if anything was not as it must be.
"""

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.errors import DomainError
from biosegment.client.verbs.jobs import ENDED
from biosegment.v1 import jobs_pb2
from tests.chaos import checks
from tests.chaos.faults import all_faults
from tests.chaos.stand import Stand, insist, stand
from tests.chaos.strokes import Painter

CANCELLED = jobs_pb2.JOB_STATE_CANCELLED
_JOB_SECONDS = 300.0
_QUIET_SECONDS = 120.0
_RETRIES = 3
_MOST_PER_JOB = 4
_SHAPE = (6, 96, 96)


class Run:
    """One chaos run.

    Attributes:
        faults: Inflicted, by kind.
        states: In which each job ended, in order.
        violations: What was not as it must be.
    """

    def __init__(self, stand: Stand, seed: int, faults: int, only: str) -> None:
        self.faults: Counter[str] = Counter()
        self.states: dict[str, list[int]] = {}
        self.violations: list[str] = []
        self._stand = stand
        self._random = Random(seed)
        self._wanted = faults
        known = all_faults(fillable=stand.fillable)
        self._known = {name: fault for name, fault in known.items() if re.search(only, name)}
        self._began = time.monotonic()
        self._calm: dict[str, str] = {}
        self._raw: NDArray[Any] = np.empty(0)

    def live(self) -> None:
        """Segments until every fault was inflicted."""
        job = self._stand.segment("calm")
        self._end(job.name)
        self._calm = checks.outputs(self._stand, "calm")
        self._raw = self._stand.client.read("em")
        self._say(f"undisturbed: {len(self._calm)} objects stored")
        number = 0
        # Most jobs meet a fault; a bound for those that never do.
        while self.faults.total() < self._wanted and number < 4 * self._wanted:
            number += 1
            name = f"chaos-{number}"
            job, export = self._stand.segment(name), self._stand.export(name)
            for _ in range(self._random.randint(1, _MOST_PER_JOB)):
                time.sleep(self._random.uniform(0.2, 2.0))
                if self._stand.job(job.name).state in ENDED or self.faults.total() >= self._wanted:
                    break
                self._inflict(job.name)
            ended = self._end(job.name)
            self._blame(checks.after_job(self._stand, ended, name, self._calm))
            exported = self._end(export.name)
            self._blame(checks.after_export(self._stand, exported, self._raw))

    def finish(self, painter: Painter) -> None:
        """Waits until all is quiet, and looks at everything once more."""
        painter.stop()
        end = time.monotonic() + _QUIET_SECONDS
        while time.monotonic() < end and not self._quiet():
            time.sleep(0.5)
        cancelled = {job: [CANCELLED] * n for job, n in self._stand.cancelled.items()}
        states = {job: states + cancelled.get(job, []) for job, states in self.states.items()}
        self._blame(checks.at_end(self._stand, states, painter.acknowledged))

    def _quiet(self) -> bool:
        client = self._stand.client
        dataset = insist(lambda: client.dataset("painted"))
        view = insist(lambda: client.volume(dataset.label_volume))
        return (
            view.revision == dataset.revision
            and not self._stand.rows("select id from outbox")
            and not list(self._stand.exports.iterdir())
        )

    def _inflict(self, job: str) -> None:
        names = list(self._known)
        weights = [weight for _, weight in self._known.values()]
        (name,) = self._random.choices(names, weights)
        blocks = self._stand.job(job).blocks
        what = self._known[name][0](self._stand, self._random, job)
        # Some find nothing to be inflicted on just then.
        if what:
            self.faults[name] += 1
            place = f"{job.rpartition('/')[2]}, {blocks.done}/{blocks.total} blocks"
            self._say(f"{self.faults.total():>3}/{self._wanted} {name} ({what}) in {place}")

    def _end(self, job: str) -> jobs_pb2.Job:
        """Waits until a job has ended; one that lost blocks or failed is retried as people do."""
        states = self.states.setdefault(job, [])
        for _ in range(_RETRIES + 1):
            end = time.monotonic() + _JOB_SECONDS
            while (found := self._stand.job(job)).state not in ENDED:
                if time.monotonic() > end:
                    at = f"{found.blocks.done} of {found.blocks.total} blocks are done"
                    raise TimeoutError(f"{job} has not ended in {_JOB_SECONDS:.0f} s: {at}")
                time.sleep(0.2)
            states.append(found.state)
            if found.state == checks.SUCCEEDED:
                break
            lost = "".join(failure.error.message for failure in found.partial_failures[:1])
            why = found.error.message or lost
            self._say(f"    {jobs_pb2.JobState.Name(found.state)}, retried: {why[:200]}")
            request = jobs_pb2.RetryJobRequest(name=job, request_id=f"{job}-{len(states)}")
            insist(lambda request=request: self._stand.stubs.jobs.RetryJob(request, timeout=10))  # type: ignore[misc]
        return found

    def _blame(self, wrong: list[str]) -> None:
        for each in wrong:
            self._say(f"VIOLATION: {each}")
        self.violations += wrong

    def _say(self, line: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {line}", flush=True)


def main(given_arguments: Sequence[str] | None = None) -> int:
    """Runs it, and returns the exit status."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--faults", type=int, default=100)
    arguments.add_argument("--only", default="", help="only faults whose name this matches")
    given = arguments.parse_args(given_arguments)
    began = time.monotonic()
    with stand() as made:
        if not made.fillable:
            print("NOT INFLICTED: a full disk; this needs root, to mount a disk that may be full.")
        run = Run(made, given.seed, given.faults, given.only)
        painter = Painter(made.platform.connection_path, "painted", _SHAPE, given.seed)
        painter.start()
        try:
            run.live()
            run.finish(painter)
        except (DomainError, TimeoutError, AssertionError) as error:
            run.violations.append(f"{type(error).__name__}: {error}")
            print(run.violations[-1])
    print(f"\n{'fault':<24}{'times':>6}")
    for name, count in sorted(run.faults.items()):
        print(f"{name:<24}{count:>6}")
    retried = sum(len(states) > 1 for states in run.states.values())
    result = {
        "seed": given.seed,
        "faults": dict(sorted(run.faults.items())),
        "faults_total": run.faults.total(),
        "jobs": len(run.states),
        "jobs_retried": retried,
        "strokes_acknowledged": len(painter.acknowledged),
        "strokes_refused": painter.refused,
        "violations": run.violations,
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(result))
    return 1 if run.violations or run.faults.total() < given.faults else 0


if __name__ == "__main__":
    sys.exit(main())
