"""Answers: tables and lines for people, JSON for programs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from biosegment.cli.session import Session

if TYPE_CHECKING:
    from google.protobuf.message import Message


def as_dict(message: "Message") -> dict[str, Any]:
    """A message as plain values, with the field names of the proto."""
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message, preserving_proto_field_name=True)


def write_json(value: Any) -> None:
    """Writes plain values to stdout as JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def show(session: Session, message: "Message") -> None:
    """Writes one message: JSON, or one line per field."""
    show_values(session, as_dict(message))


def show_values(session: Session, values: Mapping[str, Any]) -> None:
    """Writes plain values: JSON, or one line per value."""
    if session.as_json:
        write_json(values)
        return
    lines = list(_flat(values))
    width = max((len(key) for key, _ in lines), default=0)
    for key, value in lines:
        typer.echo(f"{key:<{width}}  {value}")


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
    if not rows:
        typer.echo(empty, err=True)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.rpartition(".")[2].replace("_", " "), overflow="fold")
    for row in rows:
        # Text, because names and boxes in square brackets would be read as markup.
        table.add_row(*(Text(_cell(row, column)) for column in columns))
    Console().print(table)


def tell(text: str) -> None:
    """Tells a person something beside the answer, on stderr."""
    typer.echo(text, err=True)


def _cell(row: Mapping[str, Any], column: str) -> str:
    value: Any = row
    for part in column.split("."):
        value = value.get(part, "") if isinstance(value, Mapping) else ""
    if column == "box" and isinstance(value, Mapping):
        return ",".join(
            f"{value.get(f'{axis}_start', 0)}:{value.get(f'{axis}_stop', 0)}" for axis in "zyx"
        )
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_number(item)}" for key, item in sorted(value.items()))
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    return _number(value)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for number, item in enumerate(value):
                yield from _flat(item, f"{prefix}{key}[{number}].")
        elif isinstance(value, list):
            yield f"{prefix}{key}", " ".join(str(item) for item in value)
        else:
            yield f"{prefix}{key}", _number(value)
