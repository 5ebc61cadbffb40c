"""What every command gets: where the platform is, which project, how to answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from biosegment.client import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The global options.

    Attributes:
        connection_path: The connection file; None means the default one.
        project: The project that short names belong to.
        as_json: Whether answers are JSON.
    """

    connection_path: Path | None
    project: str
    as_json: bool

    @contextmanager
    def client(self) -> Iterator["Client"]:
        """A client, closed at the end.

        Raises:
            NotFoundError: There is no connection file.
        """
        from biosegment.client import Client, Connection

        with Client(Connection.load(self.connection_path), project=self.project) as client:
            yield client


def session_of(ctx: typer.Context) -> Session:
    """The session of a command."""
    assert isinstance(ctx.obj, Session)
    return ctx.obj
