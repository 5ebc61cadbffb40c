"""What a request may hold, checked once for every RPC by the descriptors of its messages.

- A number is finite. In a map of figures one that is not is dropped: "could not be measured" and
  "is not there" are the same, and JSON has no other way to say it.
- A text holds no control characters, which would reach people's terminals, and has an end.
- What was said by software, in a warning or an error, is cleaned of them and cut: no worker's
  report is refused for how it is worded.
- A duration or a point in time is one that can be computed with.

What a field means is checked by whoever uses it.
"""

import re
from collections.abc import Callable
from functools import cache
from math import isfinite
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from biosegment.client.errors import InvalidArgumentError
from biosegment.client.terminal import CONTROL

_NAME_CHARACTERS = 4096
"""Of a text on one line: the longest path that a system takes."""
_PROSE_CHARACTERS = 20_000
_SAID_CHARACTERS = 8000
_STRUCT_VALUES = 10_000
_STRUCT_DEPTH = 32
_CONTROL_IN_PROSE = re.compile(CONTROL.pattern.replace(r"\x00-\x1f", r"\x00-\x08\x0b-\x1f"))

_SAID = {"warnings", "message", "stage"}
"""Fields that software fills."""
_SAID_BY = {"biosegment.v1.JobError"}
_PROSE = {"description", "reason", "metadata"}
"""Fields that may have several lines."""
_FAR_SECONDS = 315_576_000_000
_FAR_PAST, _FAR_FUTURE = -62_135_596_800, 253_402_300_799

_FLOATS = {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}
# Takes the message that holds a field, and the field's value.
_Check = Callable[[Any, Any], None]


class _Wrong(Exception):  # noqa: N818 - never leaves this module
    """Says what is wrong; the place is put together on the way out, since most is right."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.place = ""

    def under(self, part: str) -> "_Wrong":
        self.place = f"{part}.{self.place}" if self.place else part
        return self


def check(request: Message) -> None:
    """Lets a request pass, or not; mends what software said.

    Raises:
        InvalidArgumentError: It holds a number, a text or a time that nothing can be done with.
    """
    try:
        _look(request)
    except _Wrong as wrong:
        place = wrong.place.replace(".[", "[")
        raise InvalidArgumentError(f"{place} {wrong.sentence}", field=place) from None


def _look(message: Any) -> None:
    fields, large = _checks(message.DESCRIPTOR)
    if not large:
        for field, value in message.ListFields():
            if (wanted := fields.get(field)) is not None:
                try:
                    wanted(message, value)
                except _Wrong as wrong:
                    raise wrong.under(field.name) from None
        return
    # To list the fields would copy the bytes.
    for field, wanted in fields.items():
        name = field.name
        if field.has_presence and not message.HasField(name):
            continue
        try:
            wanted(message, getattr(message, name))
        except _Wrong as wrong:
            raise wrong.under(name) from None


@cache
def _checks(kind: Descriptor) -> tuple[dict[FieldDescriptor, _Check], bool]:
    """The fields of a message that could be wrong, and whether it may hold many bytes."""
    made = {field: _check_of(field) for field in kind.fields}
    large = any(field.type == FieldDescriptor.TYPE_BYTES for field in kind.fields)
    # Without any, the fields need not be listed either.
    wanted = {field: check for field, check in made.items() if check is not None}
    return wanted, large or not wanted


def _check_of(field: FieldDescriptor) -> _Check | None:
    by = field.containing_type.full_name if field.containing_type is not None else ""
    if _is_map(field):
        return _clean_map if by in _SAID_BY else _map_check(field)
    if field.type == FieldDescriptor.TYPE_STRING and (field.name in _SAID or by in _SAID_BY):
        return _clean_list(field.name) if field.is_repeated else _clean(field.name)
    value_check = _value_check(field)
    if value_check is None:
        return None
    return _each(value_check) if field.is_repeated else value_check


def _value_check(field: FieldDescriptor) -> _Check | None:
    if field.message_type is not None:
        kind = field.message_type
        if kind.full_name in _WELL_KNOWN:
            return _WELL_KNOWN[kind.full_name]
        return _message if _needs(kind, frozenset()) else None
    if field.type in _FLOATS:
        return _number
    if field.type == FieldDescriptor.TYPE_STRING:
        return _prose if field.name in _PROSE else _text
    return None


def _needs(kind: Descriptor, above: frozenset[str]) -> bool:
    """Whether anything in a message could be wrong."""
    if kind.full_name in _WELL_KNOWN:
        return True
    if kind.full_name in above:
        return False
    inside = above | {kind.full_name}
    return any(
        field.type in _FLOATS
        or field.type == FieldDescriptor.TYPE_STRING
        or (field.message_type is not None and _needs(field.message_type, inside))
        for field in kind.fields
    )


def _is_map(field: FieldDescriptor) -> bool:
    entry = field.message_type
    return entry is not None and bool(entry.GetOptions().map_entry)


def _message(_: Any, value: Any) -> None:
    _look(value)


def _each(value_check: _Check) -> _Check:
    def every(message: Any, values: Any) -> None:
        for n, value in enumerate(values):
            try:
                value_check(message, value)
            except _Wrong as wrong:
                raise wrong.under(f"[{n}]") from None

    return every


def _map_check(field: FieldDescriptor) -> _Check:
    assert field.message_type is not None
    key, value = (field.message_type.fields_by_name[part] for part in ("key", "value"))
    key_check = _text if key.type == FieldDescriptor.TYPE_STRING else None
    value_check = _value_check(value)
    if value_check is _text and field.name in _PROSE:
        value_check = _prose

    def every(message: Any, entries: Any) -> None:
        missing = []
        # By key: the views of these maps are slow.
        for name in entries:
            if key_check is not None:
                key_check(message, name)
            if value_check is _number:
                if not isfinite(entries[name]):
                    missing.append(name)
            elif value_check is not None:
                try:
                    value_check(message, entries[name])
                except _Wrong as wrong:
                    raise wrong.under(str(name)) from None
        for name in missing:
            del entries[name]

    return every


def _number(_: Any, value: float) -> None:
    if not isfinite(value):
        raise _Wrong(f"is {value}; give a finite number.")


def _text(_: Any, value: str) -> None:
    # Most are: one look in C instead of two here.
    if len(value) > _NAME_CHARACTERS or not value.isprintable():
        _bounded(value, _NAME_CHARACTERS, CONTROL)


def _prose(_: Any, value: str) -> None:
    if len(value) > _PROSE_CHARACTERS or not value.isprintable():
        _bounded(value, _PROSE_CHARACTERS, _CONTROL_IN_PROSE)


def _bounded(value: str, most: int, control: re.Pattern[str]) -> None:
    if len(value) > most:
        raise _Wrong(f"has {len(value)} characters; {most} are the most it may have.")
    found = control.search(value)
    if found is not None:
        raise _Wrong(
            f"holds the control character U+{ord(found[0]):04X} at position {found.start()}; "
            "remove it."
        )


def _clean(name: str) -> _Check:
    def clean(message: Any, value: str) -> None:
        if (cleaned := _cleaned(value)) is not value:
            setattr(message, name, cleaned)

    return clean


def _clean_list(_name: str) -> _Check:
    def clean(_: Any, values: Any) -> None:
        for n, value in enumerate(values):
            if (cleaned := _cleaned(value)) is not value:
                values[n] = cleaned

    return clean


def _clean_map(_: Any, entries: Any) -> None:
    for name, content in list(entries.items()):
        if _cleaned(name) is not name:
            del entries[name]
        elif (cleaned := _cleaned(content)) is not content:
            entries[name] = cleaned


def _cleaned(text: str) -> str:
    """A text without control characters that is not too long; itself if it is such a one."""
    if len(text) <= _SAID_CHARACTERS and _CONTROL_IN_PROSE.search(text) is None:
        return text
    return _CONTROL_IN_PROSE.sub("\ufffd", text[:_SAID_CHARACTERS])


def _struct(_: Any, struct: Any) -> None:
    left = _STRUCT_VALUES
    todo = [(struct.fields, name, name, 1) for name in struct.fields]
    while todo:
        holder, key, place, depth = todo.pop()
        left -= 1
        if left < 0 or depth > _STRUCT_DEPTH:
            raise _Wrong(
                f"holds more than {_STRUCT_VALUES} values, or more than {_STRUCT_DEPTH} in one "
                "another."
            )
        value = holder[key]
        kind = value.WhichOneof("kind")
        try:
            if isinstance(key, str):
                _text(None, key)
            if kind == "number_value":
                _number(None, value.number_value)
            elif kind == "string_value":
                _prose(None, value.string_value)
        except _Wrong as wrong:
            raise wrong.under(place) from None
        if kind == "struct_value":
            inner = value.struct_value.fields
            todo += [(inner, name, f"{place}.{name}", depth + 1) for name in inner]
        elif kind == "list_value":
            items = value.list_value.values
            todo += [(items, n, f"{place}[{n}]", depth + 1) for n in range(len(items))]


def _duration(_: Any, duration: Any) -> None:
    if abs(duration.seconds) > _FAR_SECONDS or abs(duration.nanos) > 999_999_999:
        raise _Wrong(f"is {duration.seconds} s, which is longer than anything takes.")


def _timestamp(_: Any, time: Any) -> None:
    if not _FAR_PAST <= time.seconds <= _FAR_FUTURE or not 0 <= time.nanos <= 999_999_999:
        raise _Wrong("is no point in time.")


_WELL_KNOWN: dict[str, _Check] = {
    "google.protobuf.Struct": _struct,
    "google.protobuf.Duration": _duration,
    "google.protobuf.Timestamp": _timestamp,
}
