"""Following a job: a progress bar on stderr, its outcome as the answer."""

from typing import TYPE_CHECKING

import typer

from biosegment.cli import outcomes
from biosegment.cli.job_view import write_job
from biosegment.cli.output import tell
from biosegment.cli.session import Session
from biosegment.client import names

if TYPE_CHECKING:
    from rich.console import Console

    from biosegment.client import Client
    from biosegment.client.errors import DomainError
    from biosegment.v1.jobs_pb2 import Job


# Of fewer units in all each takes long.
_FEW = 1000


def finish(session: Session, client: "Client", job: "Job", *, wait: bool = True) -> None:
    """Follows a job to its end, unless told not to wait, and tells what came of it.

    With JSON it is the job, for people a sentence or two.

    A Ctrl-C stops the following, not the job.

    Raises:
        DomainError: The job failed.
        typer.Exit: It succeeded only in part, or the following was interrupted.
    """
    if wait:
        try:
            job = _follow(client, job)
        except KeyboardInterrupt:
            tell(
                f"\n{names.short(job.name)} goes on. Watch it with: "
                f"{names.command('job watch', job.name)}\n"
                f"Cancel it with: {names.command('job cancel', job.name)}"
            )
            raise typer.Exit(130) from None
    if session.as_json:
        write_job(session, job)
    else:
        answer, *more = outcomes.sentences(client, job)
        typer.echo(answer)
        for sentence in more:
            tell(sentence)
    for warning in job.warnings:
        tell(f"Warning: {names.shortened(warning, session.project)}")
    _tell_of_losses(job)


def _tell_of_losses(job: "Job") -> None:
    from biosegment.v1.jobs_pb2 import JOB_STATE_PARTIALLY_SUCCEEDED

    if job.state != JOB_STATE_PARTIALLY_SUCCEEDED:
        return
    tell(f"Error: {losses(job)}")
    raise typer.Exit(1)


def losses(job: "Job") -> str:
    """What a job with blocks that were given up says of them, and what to do."""
    from biosegment.client.geometry import Box

    failed, named = job.blocks.quarantined, job.partial_failures
    first = f": {Box.from_proto(named[0].box)}: {named[0].error.message}" if named else ""
    show_command = names.command("job show", job.name)
    more = f" `{show_command}` names {len(named)} of them." if failed > 1 else ""
    return (
        f"{failed} of {job.blocks.total} blocks failed{first.rstrip('.')}.{more} Once the cause "
        f"is mended, try them again with: {names.command('job retry', job.name)}"
    )


def _follow(client: "Client", job: "Job") -> "Job":
    from rich.console import Console

    console = Console(stderr=True)
    return _with_bar(client, job, console) if console.is_terminal else _with_lines(client, job)


class _Absence:
    """Says at once that the platform is gone, and that it is back."""

    def __init__(self, job: "Job") -> None:
        self._job = job.name
        self._away = False

    def began(self, error: "DomainError") -> None:
        """The platform cannot be reached."""
        self._away = True
        tell(
            f"{error.message.rstrip('.')}. Waiting for two minutes; {self._job} goes on once the "
            "platform is back (start it with `biosegment up`). Ctrl-C ends the waiting only."
        )

    def ended(self) -> None:
        """There is news of the job."""
        if self._away:
            self._away = False
            tell("The platform is back.")


def _with_bar(client: "Client", job: "Job", console: "Console") -> "Job":
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    absence = _Absence(job)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(_headline(job), total=None, detail="")

        def on_progress(job: "Job") -> None:
            absence.ended()
            progress.update(
                task,
                description=_headline(job),
                completed=_done(job),
                total=job.progress.total or None,
                detail=_detail(job),
            )

        return client.wait(job, on_progress, on_away=absence.began)


def _done(job: "Job") -> float:
    """Units done, counting what is done of those in hand."""
    return max(job.progress.done, job.progress.fraction * job.progress.total)


def _with_lines(client: "Client", job: "Job") -> "Job":
    last = ""
    absence = _Absence(job)

    def on_progress(job: "Job") -> None:
        nonlocal last
        absence.ended()
        if (line := _headline(job)) != last:
            last = line
            tell(f"{names.short(job.name)}: {line}")

    return client.wait(job, on_progress, on_away=absence.began)


def _headline(job: "Job") -> str:
    from biosegment.v1 import jobs_pb2

    kind = jobs_pb2.JobKind.Name(job.kind).removeprefix("JOB_KIND_").lower()
    state = jobs_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").lower().replace("_", " ")
    running = job.state == jobs_pb2.JOB_STATE_RUNNING and job.progress.stage
    if job.state == jobs_pb2.JOB_STATE_PAUSED:
        state += f"; let it go on with: biosegment job resume {job.name}"
    tried = f", try {job.failures + 1}" if job.failures and running else ""
    return f"{kind}: {job.progress.stage if running else state}{tried}"


def _detail(job: "Job") -> str:
    progress = job.progress
    parts = [f"{progress.done}/{progress.total}"] if progress.total else []
    if progress.fraction and progress.total < _FEW:
        parts.append(f"{progress.fraction:.0%}")
    if progress.rate:
        parts.append(f"{progress.rate:.3g}/s")
    if progress.HasField("eta"):
        minutes, seconds = divmod(progress.eta.seconds, 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    parts += [f"{name} {value:.4g}" for name, value in sorted(progress.figures.items())]
    return " · ".join(parts)
