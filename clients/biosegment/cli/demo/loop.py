"""The loop as it is lived through: the platform asks, the expert answers, until the budget ends."""

import time
from collections.abc import Callable
from itertools import takewhile

from biosegment.cli.demo.display import Display, Doing
from biosegment.cli.demo.expert import Expert
from biosegment.client import Client
from biosegment.client.errors import DeadlineError, FailedPreconditionError
from biosegment.v1 import campaigns_pb2 as pb

_LOOK_SECONDS = 0.3
_QUIET_SECONDS = 900.0
_WORDS = {
    pb.ROUND_STATE_RANKING: "ranking candidates",
    pb.ROUND_STATE_ANNOTATING: "annotating",
    pb.ROUND_STATE_TRAINING: "training",
    pb.ROUND_STATE_EVALUATING: "measuring",
    pb.ROUND_STATE_DONE: "done",
}


def live(client: Client, campaign: str, expert: Expert, display: Display) -> list[pb.Round]:
    """Answers every proposal until the campaign has ended; returns its rounds.

    Raises:
        FailedPreconditionError: The campaign failed; the message says why.
        DeadlineError: Nothing changed for a quarter of an hour.
    """
    told = 0
    watch = _Watch(time.monotonic)
    with display.doing("Round 1") as doing:
        while True:
            state = client.campaign(campaign)
            rounds = client.rounds(campaign)
            # A round is over once its version is measured, which may be after the next has begun.
            over = list(takewhile(lambda r: r.state == pb.ROUND_STATE_DONE, rounds))
            for ended in over[told:]:
                display.say(sentence(ended))
            told = len(over)
            if state.state == pb.CAMPAIGN_STATE_FINISHED:
                display.say(state.state_reason)
                return rounds
            if state.state != pb.CAMPAIGN_STATE_ACTIVE:
                raise FailedPreconditionError(
                    f"The campaign stopped: {state.state_reason or 'somebody paused it'}",
                    name=state.name,
                )
            if rounds:
                _take_part(client, rounds[-1], expert, doing, watch)
            watch.check(campaign)
            time.sleep(_LOOK_SECONDS)


def _take_part(
    client: Client, current: pb.Round, expert: Expert, doing: Doing, watch: "_Watch"
) -> None:
    number = current.name.rpartition("/")[2]
    what = f"Round {number}: {_WORDS[current.state]}"
    doing.text(what)
    watch.saw(current.SerializeToString(deterministic=True))
    if current.state == pb.ROUND_STATE_ANNOTATING and expert.answer(4):
        watch.saw(None)
        return
    job = {
        pb.ROUND_STATE_RANKING: current.rank_job,
        pb.ROUND_STATE_TRAINING: current.train_job,
        pb.ROUND_STATE_EVALUATING: current.evaluate_job,
    }.get(current.state)
    if job:
        found = client.job(job)
        watch.saw(found.progress.SerializeToString(deterministic=True))
        doing.job(what, found)


def sentence(ended: pb.Round) -> str:
    """A round in a line."""
    number = ended.name.rpartition("/")[2]
    spent = ", ".join(f"{word} {seconds:.0f} s" for word, seconds in sorted(ended.seconds.items()))
    iou = "no training yet" if not ended.version else "not measured"
    if "iou" in ended.metrics:
        iou = f"IoU {ended.metrics['iou']:.3f}"
    return f"Round {number}: {ended.labelled_patches} patches labelled, {iou} ({spent})."


class _Watch:
    """Notices when nothing changes any more."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: set[bytes] = set()
        self._changed = clock()

    def saw(self, state: bytes | None) -> None:
        """Takes what was seen; None stands for something new."""
        if state is None or state not in self._seen:
            self._changed = self._clock()
        if state is not None:
            self._seen = {*list(self._seen)[-7:], state}

    def check(self, campaign: str) -> None:
        """Raises DeadlineError if nothing has changed for too long."""
        if self._clock() - self._changed > _QUIET_SECONDS:
            raise DeadlineError(
                f"The campaign {campaign} has not moved for {_QUIET_SECONDS / 60:.0f} minutes; the "
                "logs of the platform say why.",
                campaign=campaign,
            )
