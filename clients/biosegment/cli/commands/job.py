"""job: list, show, watch, finish, pause, resume, cancel, retry."""

from typing import Annotated

import typer

from biosegment.cli.commands.data import Wait
from biosegment.cli.follow import finish, losses
from biosegment.cli.job_view import write_job
from biosegment.cli.output import show_all, tell
from biosegment.cli.session import session_of

job_app = typer.Typer(no_args_is_help=True, help="Jobs: long pieces of work.")


@job_app.command("list")
def list_jobs(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most this many.")] = 50,
) -> None:
    """List the jobs of the project, newest first."""
    session = session_of(ctx)
    with session.client() as client:
        jobs = client.jobs(limit=limit)
    columns = ["name", "kind", "state", "progress.stage", "create_time", "error.message"]
    show_all(session, jobs, columns)


@job_app.command("show")
def show_job(ctx: typer.Context, job: str) -> None:
    """Show a job."""
    session = session_of(ctx)
    with session.client() as client:
        found = client.job(job)
    write_job(session, found)
    if found.blocks.quarantined:
        tell(losses(found))
    if found.WhichOneof("spec") in ("train_spec", "search_spec"):
        tell(f"Its curves: biosegment tensorboard {job}")


@job_app.command("watch")
def watch(ctx: typer.Context, job: str) -> None:
    """Follow a job to its end."""
    session = session_of(ctx)
    with session.client() as client:
        finish(session, client, client.job(job))


@job_app.command("finish")
def finish_early(ctx: typer.Context, job: str, wait: Wait = True) -> None:
    """Let a training end within seconds with what it has learnt; a version is made of it."""
    session = session_of(ctx)
    with session.client() as client:
        finish(session, client, client.finish(job), wait=wait)


@job_app.command("pause")
def pause(ctx: typer.Context, job: str) -> None:
    """Pause a job; it goes on with `job resume`, also after a restart of the platform."""
    session = session_of(ctx)
    with session.client() as client:
        write_job(session, client.pause(job))


@job_app.command("resume")
def resume(ctx: typer.Context, job: str, wait: Wait = True) -> None:
    """Let a paused job go on where it stopped."""
    session = session_of(ctx)
    with session.client() as client:
        finish(session, client, client.resume(job), wait=wait)


@job_app.command("cancel")
def cancel(ctx: typer.Context, job: str) -> None:
    """Ask for the cancellation of a job."""
    session = session_of(ctx)
    with session.client() as client:
        write_job(session, client.cancel(job))


@job_app.command("retry")
def retry(ctx: typer.Context, job: str, wait: Wait = True) -> None:
    """Queue a failed, cancelled or partially succeeded job again."""
    session = session_of(ctx)
    with session.client() as client:
        finish(session, client, client.retry(job), wait=wait)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(job_app, name="job")
