"""Messages and errors as plain values: the one JSON shape of the command line and the gateway.

Names of fields are those of the protos. Scalars, lists and maps are always there, also when they
are empty or zero; messages and optional fields only where they are set. Whole numbers are numbers
(the JSON mapping of protobuf makes strings of those of 64 bits), enums are names, times are RFC
3339, durations seconds with an "s", bytes base64. What JSON has no number for is "NaN",
"Infinity" or "-Infinity".
"""

import base64
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from biosegment.client.errors import DomainError

if TYPE_CHECKING:
    from google.protobuf.message import Message

_Plain = Callable[[Any], Any]

# As far as every whole number is a float of its own.
_EXACT = 2**53


def as_plain(message: "Message") -> dict[str, Any]:
    """A message as plain values, its fields in the order of the proto."""
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            entry = field.message_type
            if entry is not None and entry.GetOptions().map_entry:
                kind = entry.fields_by_name["value"]
                found[field.name] = {str(key): _value(kind, value[key]) for key in sorted(value)}
            else:
                found[field.name] = [_value(field, item) for item in value]
        elif not field.has_presence or message.HasField(field.name):
            found[field.name] = _value(field, value)
    return found


def problem(error: DomainError) -> dict[str, Any]:
    """An error as plain values: {"error": {code, reason, message, metadata}}."""
    return {
        "error": {
            "code": error.code,
            "reason": error.reason,
            "message": error.message,
            "metadata": error.metadata,
        }
    }


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        known: _Plain = _WELL_KNOWN.get(field.message_type.full_name, as_plain)
        return known(value)
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return value if named is None else named.name
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return _number(value) if isinstance(value, float) else value


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"


def _json(value: Any) -> Any:
    """What a google.protobuf.Value holds; whole numbers as such, for it has only floats."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _struct(value.struct_value)
    if kind == "list_value":
        return [_json(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if abs(number) <= _EXACT and number.is_integer() else _number(number)
    return None if kind in (None, "null_value") else getattr(value, kind)


def _struct(value: Any) -> dict[str, Any]:
    return {key: _json(value.fields[key]) for key in sorted(value.fields)}


_WELL_KNOWN: dict[str, _Plain] = {
    "google.protobuf.Timestamp": lambda value: value.ToJsonString(),
    "google.protobuf.Duration": lambda value: value.ToJsonString(),
    "google.protobuf.FieldMask": lambda value: ",".join(value.paths),
    "google.protobuf.Struct": _struct,
    "google.protobuf.Value": _json,
    "google.protobuf.ListValue": lambda value: [_json(item) for item in value.values],
}
