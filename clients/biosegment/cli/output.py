"""Answers: tables and lines for people, JSON for programs."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from biosegment.cli.session import Session
from biosegment.client.plain import as_plain
from biosegment.client.terminal import CONTROL, printable

if TYPE_CHECKING:
    from google.protobuf.message import Message

_PIPE_WIDTH = 400
_ENUM = re.compile(
    r"(JOB|CAMPAIGN|ROUND|PROPOSAL|VOLUME|TRIAL|CANDIDATE)_(STATE|KIND|STAGE|FORMAT|SOURCE)_(?=[A-Z])"
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def as_dict(message: "Message") -> dict[str, Any]:
    """A message as plain values: ``biosegment.client.plain``, which the gateway prints too."""
    return as_plain(message)


def write_json(value: Any) -> None:
    """Writes plain values to stdout as JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # JSON leaves some characters as they are that a terminal obeys.
    typer.echo(CONTROL.sub(lambda c: c[0] if c[0] == "\n" else f"\\u{ord(c[0]):04x}", text))


def show(session: Session, message: "Message") -> None:
    """Writes one message: JSON, or one line per field that is not empty."""
    values = as_dict(message)
    show_values(session, values if session.as_json else stated(values))


def answer(session: Session, message: "Message", *sentences: str) -> None:
    """Writes what was made: JSON, or the first sentence; further ones say what to do next."""
    if session.as_json:
        write_json(as_dict(message))
        return
    first, *more = sentences
    typer.echo(first)
    for sentence in more:
        tell(sentence)


def show_values(session: Session, values: Mapping[str, Any]) -> None:
    """Writes plain values: JSON, or one line per value."""
    if session.as_json:
        write_json(values)
        return
    lines = list(_flat(values))
    width = max((len(key) for key, _ in lines), default=0)
    for key, value in lines:
        typer.echo(printable(f"{key:<{width}}  {value}"))


def show_all(
    session: Session,
    messages: Iterable["Message"],
    columns: Sequence[str],
    *,
    empty: str = "There are none.",
) -> None:
    """Writes several messages: a JSON array, or a table.

    Args:
        session: Says which.
        messages: The messages.
        columns: Fields of the table; "a.b" is a field of a field.
        empty: What to tell a person when there is nothing.
    """
    rows = [as_dict(message) for message in messages]
    if session.as_json:
        write_json(rows)
        return
    # Short names, which every command takes as well.
    show_rows(
        [{column: _cell(row, column, session.project) for column in columns} for row in rows],
        empty=empty,
    )


def show_rows(rows: Sequence[Mapping[str, Any]], *, empty: str = "There are none.") -> None:
    """Writes a table for people.

    Args:
        rows: The cells of each row by their columns; the first row has every column.
        empty: What to tell when there is nothing.
    """
    if not rows:
        typer.echo(empty, err=True)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in rows[0]:
        table.add_column(column.partition(".")[0].replace("_", " "), overflow="fold")
    for row in rows:
        # Text, because names and boxes in square brackets would be read as markup.
        table.add_row(*(Text(printable(_scalar(value))) for value in row.values()))
    # A pipe has no width; what reads it wants one line per row.
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def tell(text: str) -> None:
    """Tells a person something beside the answer, on stderr."""
    typer.echo(printable(text, lines=True), err=True)


def short(name: str, project: str) -> str:
    """A resource name as commands take it: without what every name of the project has."""
    own = name.startswith(f"projects/{project}/")
    return "/".join(name.split("/")[3::2]) if own else name


def _cell(row: Mapping[str, Any], column: str, project: str) -> str:
    value: Any = row
    for part in column.split("."):
        value = value.get(part, "") if isinstance(value, Mapping) else ""
    if isinstance(value, str):
        value = short(value, project)
    if isinstance(value, Mapping) and _geometry(value) is None:
        return " ".join(f"{key}={_scalar(item)}" for key, item in sorted(value.items()))
    return _scalar(value)


def _geometry(value: Mapping[str, Any]) -> str | None:
    """A box, an extent or a voxel size as commands take it; None for other values."""
    if value and set(value) <= {"z", "y", "x"}:
        return ",".join(_scalar(value.get(axis, 0)) for axis in "zyx")
    if set(value) >= {"z_stop", "y_stop", "x_stop"}:
        return ",".join(f"{value.get(f'{a}_start', 0)}:{value[f'{a}_stop']}" for a in "zyx")
    return None


def _scalar(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return _geometry(value) or ""
    if isinstance(value, list):
        return " ".join(_scalar(item) for item in value)
    text = str(value)
    if text.endswith("_UNSPECIFIED"):
        return ""
    if _ENUM.match(text):
        return _ENUM.sub("", text).lower().replace("_", " ")
    if _TIME.fullmatch(text):
        return f"{text[:10]} {text[11:19]} UTC"
    return text


def stated(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a message says beyond zeros and nothing: all that people want to read of it."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and _geometry(value) is None:
            value = stated(value)
        if value and not (isinstance(value, str) and value.endswith("_UNSPECIFIED")):
            found[key] = value
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and _geometry(value) is None:
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for number, item in enumerate(value):
                yield from _flat(item, f"{prefix}{key}[{number}].")
        else:
            yield f"{prefix}{key}", _scalar(value)
