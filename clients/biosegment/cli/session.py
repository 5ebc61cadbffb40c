"""What every command gets: where the platform is, which project, how to answer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from biosegment.client.errors import InvalidArgumentError
from biosegment.client.given import UNSENDABLE, unsendable

if TYPE_CHECKING:
    from biosegment.client import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The global options.

    Attributes:
        connection_path: The connection file; None means the default one.
        project: The project that short names belong to.
        as_json: Whether answers are JSON.
        given: What the command was given, by its options.
    """

    connection_path: Path | None
    project: str
    as_json: bool
    given: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def client(self) -> Iterator["Client"]:
        """A client, closed at the end.

        Raises:
            NotFoundError: There is no connection file.
            InvalidArgumentError: The command was given what no request can hold.
        """
        from biosegment.client import Client, Connection

        with Client(Connection.load(self.connection_path), project=self.project) as client:
            try:
                yield client
            except (*UNSENDABLE, InvalidArgumentError) as error:
                cause = error.__cause__ if isinstance(error, InvalidArgumentError) else error
                wrong = unsendable(cause, self.given) if isinstance(cause, UNSENDABLE) else None
                raise wrong or error from None


def session_of(ctx: typer.Context) -> Session:
    """The session of a command."""
    assert isinstance(ctx.obj, Session)
    options = {str(each.name): each.opts[0] for each in ctx.command.params}
    given = {options[name]: value for name, value in ctx.params.items() if name in options}
    return replace(ctx.obj, given=given)
