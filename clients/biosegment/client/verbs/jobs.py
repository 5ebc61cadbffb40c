"""Jobs: watch, wait, list, pause, resume, cancel, retry."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from biosegment.client import names
from biosegment.client.errors import (
    DeadlineError,
    DomainError,
    InternalError,
    JobCancelledError,
    UnavailableError,
    error_of,
)
from biosegment.client.verbs.base import QUICK_SECONDS, Verbs, collect, request_id
from biosegment.v1 import jobs_pb2 as pb

ENDED = frozenset(
    {
        pb.JOB_STATE_CANCELLED,
        pb.JOB_STATE_SUCCEEDED,
        pb.JOB_STATE_PARTIALLY_SUCCEEDED,
        pb.JOB_STATE_FAILED,
    }
)
"""The states that a job stays in."""

_WATCH_SECONDS = 3600.0
_AGAIN_SECONDS = 0.5


def outcome(job: pb.Job) -> pb.Job:
    """Returns a job that ended well, also if only in part.

    Raises:
        JobCancelledError: It was cancelled.
        DomainError: It failed; the class is that of the error it failed with.
    """
    if job.state == pb.JOB_STATE_CANCELLED:
        raise JobCancelledError(f"{job.name} was cancelled.", job=job.name)
    if job.state == pb.JOB_STATE_FAILED:
        if not job.error.message:
            raise InternalError(f"{job.name} failed without saying why.", job=job.name)
        raise error_of(job.error.reason, job.error.message, {**job.error.metadata, "job": job.name})
    return job


class JobVerbs(Verbs):
    """Jobs as people see them."""

    async def job(self, job: str) -> pb.Job:
        """One job as it is now.

        Raises:
            NotFoundError: There is none of that name.
        """
        request = pb.GetJobRequest(name=self.name(names.JOB, job))
        return (await self.stubs.jobs.GetJob(request, timeout=QUICK_SECONDS)).job

    async def jobs(
        self,
        *,
        states: Sequence["pb.JobState.ValueType"] = (),
        kinds: Sequence["pb.JobKind.ValueType"] = (),
        limit: int = 1000,
    ) -> list[pb.Job]:
        """The jobs of the project, newest first.

        Args:
            states: Only these; empty means all.
            kinds: Only these; empty means all.
            limit: At most this many.
        """
        return await collect(
            self.stubs.jobs.ListJobs,
            pb.ListJobsRequest(parent=self.parent, states=states, kinds=kinds),
            lambda response: response.jobs,
            limit,
        )

    async def watch(
        self,
        job: str | pb.Job,
        *,
        timeout: float | None = None,
        patience: float = 120.0,
        on_away: Callable[[DomainError], None] | None = None,
    ) -> AsyncIterator[pb.Job]:
        """Yields the job at once and then after each change, until it has ended.

        Survives restarts of the registry: the watch is taken up again, beginning with a
        snapshot.

        Args:
            job: The job or its name.
            timeout: Seconds to watch at most; None means until the end.
            patience: Seconds that the registry may be away.
            on_away: Called once each time that the registry goes away; it is waited for.

        Raises:
            NotFoundError: There is no such job.
            DeadlineError: The timeout passed; the job goes on.
            UnavailableError: The registry stayed away for longer than the patience.
        """
        async for seen in self.follow(job, timeout=timeout, patience=patience):
            if isinstance(seen, pb.Job):
                yield seen
            elif on_away is not None:
                on_away(seen)

    async def follow(
        self, job: str | pb.Job, *, timeout: float | None = None, patience: float = 120.0
    ) -> AsyncIterator[pb.Job | DomainError]:
        """As ``watch``, and yields an error each time that the registry goes away."""
        away = False
        request = pb.WatchJobRequest(
            name=job.name if isinstance(job, pb.Job) else self.name(names.JOB, job)
        )
        clock = asyncio.get_running_loop().time
        end = None if timeout is None else clock() + timeout
        heard = clock()
        while True:
            left = _WATCH_SECONDS if end is None else min(_WATCH_SECONDS, end - clock())
            try:
                # A deadline of zero would be read as none.
                async for answer in self.stubs.jobs.WatchJob(request, timeout=max(left, 0.001)):
                    heard, away = clock(), False
                    yield answer.job
                    if answer.job.state in ENDED:
                        return
            except DomainError as error:
                # A registry that drains cancels its streams.
                if not error.retryable and not isinstance(error, JobCancelledError):
                    raise
                if end is not None and clock() >= end:
                    raise DeadlineError(
                        f"{request.name} has not ended within {timeout:g} s; it goes on.",
                        job=request.name,
                    ) from None
                if isinstance(error, UnavailableError):
                    if clock() - heard > patience:
                        raise
                    if not away:
                        away = True
                        yield error
                elif clock() - heard > patience and not isinstance(error, DeadlineError):
                    raise
            await asyncio.sleep(_AGAIN_SECONDS)

    async def wait(
        self,
        job: str | pb.Job,
        on_progress: Callable[[pb.Job], None] | None = None,
        *,
        timeout: float | None = None,
        on_away: Callable[[DomainError], None] | None = None,
    ) -> pb.Job:
        """Waits until a job has ended.

        Args:
            job: The job or its name.
            on_progress: Called with the job at once and after each change.
            timeout: Seconds to wait at most; None means until the end.
            on_away: Called once each time that the registry goes away; it is waited for.

        Returns:
            The job, SUCCEEDED or PARTIALLY_SUCCEEDED: look at ``state`` and
            ``partial_failures`` where the difference matters.

        Raises:
            JobCancelledError: It was cancelled.
            DeadlineError: The timeout passed; the job goes on.
            DomainError: The job failed; the class is that of the error it failed with.
        """
        last = pb.Job()
        async for last in self.watch(job, timeout=timeout, on_away=on_away):
            if on_progress is not None:
                on_progress(last)
        return outcome(last)

    async def cancel(self, job: str) -> pb.Job:
        """Asks for the cancellation of a job; one that has ended is returned as it is."""
        request = pb.CancelJobRequest(name=self.name(names.JOB, job))
        return (await self.stubs.jobs.CancelJob(request, timeout=QUICK_SECONDS)).job

    async def finish(self, job: str) -> pb.Job:
        """Asks a training to end within seconds with what it has learnt.

        A version is made of it. One that has ended is returned as it is.

        Raises:
            FailedPreconditionError: The job is no training.
        """
        request = pb.FinishJobRequest(name=self.name(names.JOB, job))
        return (await self.stubs.jobs.FinishJob(request, timeout=QUICK_SECONDS)).job

    async def pause(self, job: str) -> pb.Job:
        """Asks for a pause: no new block is started, those in hand are ended.

        The worker is then free for other jobs. A training keeps a checkpoint. ``wait`` and
        ``watch`` go on waiting. A job that is paused already is returned as it is.

        Returns:
            The job: PAUSED where nobody worked on it, else PAUSING until the workers have let go.

        Raises:
            FailedPreconditionError: The job has ended, or a worker does it in one piece.
        """
        request = pb.PauseJobRequest(name=self.name(names.JOB, job))
        return (await self.stubs.jobs.PauseJob(request, timeout=QUICK_SECONDS)).job

    async def resume(self, job: str) -> pb.Job:
        """Lets a paused job go on where it stopped; one that goes on already is left as it is.

        Raises:
            FailedPreconditionError: The job has ended or is being cancelled.
        """
        request = pb.ResumeJobRequest(name=self.name(names.JOB, job))
        return (await self.stubs.jobs.ResumeJob(request, timeout=QUICK_SECONDS)).job

    async def retry(self, job: str) -> pb.Job:
        """Queues a failed, cancelled or partially succeeded job again.

        Of a job that works in blocks only the blocks that are not done are repeated.

        Raises:
            FailedPreconditionError: The job is in another state.
        """
        request = pb.RetryJobRequest(name=self.name(names.JOB, job), request_id=request_id())
        return (await self.stubs.jobs.RetryJob(request, timeout=QUICK_SECONDS)).job
