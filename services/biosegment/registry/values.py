"""Checks and conversions of single values between the protos and the tables."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from math import isfinite
from typing import Any

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from biosegment.client.errors import InvalidArgumentError
from biosegment.v1 import types_pb2

_TEXT_CHARACTERS = 200
_WARNINGS, _WARNING_CHARACTERS = 20, 1000
_NUMBERS = 64


def check_text(text: str, field: str, most: int = _TEXT_CHARACTERS) -> str:
    """Returns a text that a column can take.

    Raises:
        InvalidArgumentError: It is longer than ``most`` characters, or holds a NUL character.
    """
    if len(text) > most:
        raise InvalidArgumentError(
            f"{field} has {len(text)} characters; at most {most} are kept.", field=field
        )
    if "\0" in text:
        raise InvalidArgumentError(f"{field} holds a NUL character; remove it.", field=field)
    return text


def kept_warnings(warnings: Iterable[str]) -> list[str]:
    """The warnings of a job as they are kept: no job fails because it warns too much."""
    texts = dict.fromkeys(text[:_WARNING_CHARACTERS].replace("\0", "") for text in warnings)
    return list(texts)[:_WARNINGS]


def known(reference: types_pb2.InputReference) -> dict[str, Any]:
    """What raw data look like to a version, as JSON.

    Raises:
        InvalidArgumentError: A number is not finite, or there are more than can be meant.
    """
    numbers = [*reference.grey.quantiles, reference.grey.left_out]
    size = reference.voxel_size
    if len(numbers) > _NUMBERS or not all(map(isfinite, (*numbers, size.z, size.y, size.x))):
        raise InvalidArgumentError(
            "What raw data look like to a version is told by a few finite numbers.",
            field="reference",
        )
    check_text(reference.dataset, "reference.dataset")
    return dict(json_format.MessageToDict(reference, preserving_proto_field_name=True))


def check_seconds(duration: Duration, field: str, most: float) -> float:
    """A duration in seconds.

    Raises:
        InvalidArgumentError: It is negative, or longer than ``most`` seconds.
    """
    seconds = duration.seconds + duration.nanos * 1e-9
    if not 0 <= seconds <= most:
        raise InvalidArgumentError(
            f"{field} is {seconds:g} s; it must lie between 0 and {most:g} s.", field=field
        )
    return seconds


def duration(seconds: float) -> Duration:
    """Seconds as a Duration, to the microsecond."""
    made = Duration()
    made.FromMicroseconds(round(seconds * 1e6))
    return made


def timestamp(time: datetime) -> Timestamp:
    """A point in time as a Timestamp."""
    made = Timestamp()
    made.FromDatetime(time)
    return made


def finite(figures: Mapping[str, float]) -> dict[str, float]:
    """The figures that are numbers.

    NaN and infinity stand for "could not be measured", say of a class that is absent; an absent
    figure says that too, and JSON has no other way to.
    """
    return {name: figure for name, figure in figures.items() if isfinite(figure)}
