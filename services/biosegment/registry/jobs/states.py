"""The one table of job states and the transitions between them."""

from biosegment.client.errors import FailedPreconditionError
from biosegment.registry.tables.jobs import JobRow
from biosegment.v1 import jobs_pb2

QUEUED = jobs_pb2.JOB_STATE_QUEUED
RUNNING = jobs_pb2.JOB_STATE_RUNNING
CANCELLING = jobs_pb2.JOB_STATE_CANCELLING
CANCELLED = jobs_pb2.JOB_STATE_CANCELLED
SUCCEEDED = jobs_pb2.JOB_STATE_SUCCEEDED
PARTIALLY_SUCCEEDED = jobs_pb2.JOB_STATE_PARTIALLY_SUCCEEDED
FAILED = jobs_pb2.JOB_STATE_FAILED
PAUSING = jobs_pb2.JOB_STATE_PAUSING
PAUSED = jobs_pb2.JOB_STATE_PAUSED

TRANSITIONS: dict[int, frozenset[int]] = {
    QUEUED: frozenset({RUNNING, PAUSED, CANCELLED, FAILED}),
    # Back to QUEUED when an attempt ends without a result, or its lease lapses.
    RUNNING: frozenset(
        {QUEUED, PAUSING, PAUSED, CANCELLING, CANCELLED, SUCCEEDED, PARTIALLY_SUCCEEDED, FAILED}
    ),
    # Work that was done before it heard of the pause counts as done. Back to RUNNING when it is
    # resumed before everybody has let go.
    PAUSING: frozenset(
        {RUNNING, PAUSED, CANCELLING, CANCELLED, SUCCEEDED, PARTIALLY_SUCCEEDED, FAILED}
    ),
    PAUSED: frozenset({QUEUED, RUNNING, CANCELLED}),
    # Work that was done before it heard of the cancellation counts as done.
    CANCELLING: frozenset({CANCELLED, SUCCEEDED, PARTIALLY_SUCCEEDED, FAILED}),
    # Retry, by a person.
    CANCELLED: frozenset({QUEUED, RUNNING}),
    PARTIALLY_SUCCEEDED: frozenset({QUEUED, RUNNING}),
    FAILED: frozenset({QUEUED, RUNNING}),
    SUCCEEDED: frozenset(),
}

TERMINAL = frozenset({CANCELLED, SUCCEEDED, PARTIALLY_SUCCEEDED, FAILED})
RETRYABLE = frozenset({CANCELLED, PARTIALLY_SUCCEEDED, FAILED})
HALTED = frozenset({PAUSING, PAUSED})


def state_word(state: int) -> str:
    """A state for people: RUNNING, not JOB_STATE_RUNNING."""
    return jobs_pb2.JobState.Name(jobs_pb2.JobState.ValueType(state)).removeprefix("JOB_STATE_")


def move(row: JobRow, state: int) -> None:
    """Puts a job into another state.

    Raises:
        FailedPreconditionError: The table has no such transition.
    """
    if state == row.state:
        return
    if state not in TRANSITIONS[row.state]:
        allowed = ", ".join(sorted(state_word(s) for s in TRANSITIONS[row.state])) or "none"
        raise FailedPreconditionError(
            f"{row.name} is {state_word(row.state)} and cannot become {state_word(state)}.",
            name=row.name,
            allowed_states=allowed,
        )
    row.state = state
