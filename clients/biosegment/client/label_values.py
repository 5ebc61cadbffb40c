"""From the numbers in somebody's label file or array to class values.

Every program has its own numbers for "this is it": Fiji writes 255, others 128, 65535, True or one
number per object, and in BioSegment 255 means "not labelled". One rule serves every verb that takes
labels from outside: whole numbers of any type, each of which is in the project's class table or is
translated by a rule. Numbers that could mean two things are asked about, never guessed.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.arrays import CLEARED, NOT_LABELLED
from biosegment.client.errors import InvalidArgumentError
from biosegment.v1 import jobs_pb2

AS_PAINTED = (f"{CLEARED}={CLEARED}", f"{NOT_LABELLED}={NOT_LABELLED}")
"""Rules for masks of tools that paint in BioSegment's own values: 255 and 254 are meant so."""

_RULE = re.compile(r"\s*(-?\d{1,20})(?:(-)(-?\d{1,20})?)?\s*=\s*(\d{1,3})\s*")
_HIGHEST = (1 << 64) - 1
# So many numbers that are no classes look like numbers of objects.
_MANY = 8
_UNKNOWN = 256
_PIECE = 1 << 22


@dataclass(frozen=True, slots=True)
class ValueRule:
    """Numbers from first to last, both included, mean one value.

    Attributes:
        first: The lowest.
        last: The highest.
        value: A class value, 254 (cleared) or 255 (not labelled).
    """

    first: int
    last: int
    value: int

    @classmethod
    def from_proto(cls, message: jobs_pb2.LabelMapping) -> "ValueRule":
        """The rule of a message."""
        last = message.last if message.HasField("last") else _HIGHEST
        return cls(message.first, last, message.value)

    def to_proto(self) -> jobs_pb2.LabelMapping:
        """The rule as a message.

        Raises:
            InvalidArgumentError: It is about numbers that labels cannot hold.
        """
        last = None if self.last == _HIGHEST else self.last
        try:
            return jobs_pb2.LabelMapping(first=self.first, last=last, value=self.value)
        except ValueError:
            raise InvalidArgumentError(
                f'"{self}" is about numbers beyond 64 bit; write 1-=1 for all from 1 up.'
            ) from None

    def __str__(self) -> str:
        if self.first == self.last:
            return f"{self.first}={self.value}"
        last = "" if self.last == _HIGHEST else self.last
        return f"{self.first}-{last}={self.value}"


def parse_rules(texts: Iterable[str]) -> tuple[ValueRule, ...]:
    """Rules as people write them: "255=1", "2-9=1", or "1-=1" for 1 and all above.

    Raises:
        InvalidArgumentError: One is no such rule.
    """
    rules = []
    for text in texts:
        found = _RULE.fullmatch(text)
        if found is None:
            raise InvalidArgumentError(
                f'"{text[:40]}" does not say which number means which class: write 255=1, or 1-=1 '
                "for 1 and all above it."
            )
        first = int(found[1])
        last = int(found[3]) if found[3] else (_HIGHEST if found[2] else first)
        rules.append(ValueRule(first, last, int(found[4])))
    return tuple(rules)


class LabelReader:
    """Translates labels into class values, piece by piece.

    Attributes:
        counts: int64, 256 of them: voxels of each value so far.
    """

    def __init__(
        self,
        classes: Iterable[int],
        rules: Sequence[ValueRule] = (),
        *,
        source: str = "The mask",
        clears: bool = False,
    ) -> None:
        """Makes one for a file or an array.

        Args:
            classes: Values in the project's class table.
            rules: The first that holds a number decides; numbers without a rule mean themselves.
            source: Where the labels come from, for messages.
            clears: Whether 254 has a meaning: in commits to the annotation log it takes labels
                away, in reference labels it is no value.

        Raises:
            InvalidArgumentError: A rule leads to no value, or to one that is no class.
        """
        self._classes = sorted(set(classes))
        self._rules = tuple(rules)
        self._source = source
        self._reserved = (CLEARED, NOT_LABELLED) if clears else (NOT_LABELLED,)
        self._asked: set[int] = set()
        self.counts = np.zeros(256, np.int64)
        for rule in self._rules:
            if rule.last < rule.first or rule.value not in (*self._classes, *self._reserved):
                raise InvalidArgumentError(
                    f'"{rule}" leads nowhere: the number on the right must be a label class of the '
                    f"project ({self._known()}) or {NOT_LABELLED} for not labelled"
                    + (f", or {CLEARED} to take labels away." if clears else "."),
                    value=rule.value,
                )

    def read(self, labels: NDArray[Any], where: str = "") -> NDArray[np.uint8]:
        """The class values of a piece.

        Args:
            labels: Whole numbers of any type, any shape.
            where: Which piece, for messages, such as "page 3".

        Returns:
            uint8, the same shape.

        Raises:
            InvalidArgumentError: It holds fractions or colours, or a number without a meaning.
        """
        place = f"{self._source}, {where}," if where else self._source
        flat = labels.reshape(-1)
        made = np.empty(flat.size, np.uint8)
        # What is needed beside the labels takes many bytes a voxel.
        for start in range(0, flat.size, _PIECE):
            made[start : start + _PIECE] = self._read(flat[start : start + _PIECE], place)
        return made.reshape(labels.shape)

    def _read(self, labels: NDArray[Any], place: str) -> NDArray[np.uint8]:
        present, spots = _distinct(_whole(labels, place))
        values = self._meanings(present)
        if bool((values == _UNKNOWN).any()):
            raise self._unknown(present[values == _UNKNOWN], place)
        made: NDArray[np.uint8] = values.astype(np.uint8)[spots]
        self.counts += np.bincount(made, minlength=256)
        return made

    def missing(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """A piece that is not there, and so not labelled."""
        made = np.full(shape, NOT_LABELLED, np.uint8)
        self.counts[NOT_LABELLED] += made.size
        return made

    def _meanings(self, present: NDArray[Any]) -> NDArray[np.int64]:
        """A value for each number; _UNKNOWN where it has none."""
        values = np.full(present.shape, _UNKNOWN, np.int64)
        for known in (*self._classes, *self._reserved):
            values[present == known] = known
        ruled = np.zeros(present.shape, bool)
        for rule in self._rules:
            here = (present >= rule.first) & (present <= rule.last) & ~ruled
            values[here] = rule.value
            ruled |= here
        self._asked.update(int(v) for v in values[~ruled] if v in (CLEARED, NOT_LABELLED))
        return values

    def finish(self) -> None:
        """Ends the labels.

        Raises:
            InvalidArgumentError: 255 or 254 is in them, without a rule and without any class but
                background, so that it may as well be what somebody painted.
        """
        painted = bool(self.counts[1:CLEARED].any())
        if not self._asked or painted:
            return
        value = max(self._asked)
        numbers = sorted(self._asked | ({0} if self.counts[0] else set()))
        meaning = "not labelled" if value == NOT_LABELLED else "labels taken away"
        raise InvalidArgumentError(
            f"{self._source} holds {' and '.join(map(str, numbers))} and no other number. In "
            f"BioSegment {value} "
            f"means {meaning}, but other programs, such as Fiji, mark what was painted with it. "
            f"If it marks {self._some_class()}; if it means {meaning}, add --map {value}={value}.",
            value=value,
        )

    @property
    def not_labelled(self) -> int:
        """Voxels so far that are not labelled, or left as they were."""
        return int(self.counts[NOT_LABELLED])

    @property
    def cleared(self) -> int:
        """Voxels so far whose labels are taken away."""
        return int(self.counts[CLEARED])

    def _known(self) -> str:
        return ", ".join(map(str, self._classes)) or "none yet"

    def _some_class(self, number: object = None) -> str:
        """How to say that a number means a class: "class 1, add --map 255=1"."""
        number = max(self._asked) if number is None else number
        foreground = [value for value in self._classes if value]
        if not foreground:
            return (
                f"a class, make the class first (biosegment class set 1 NAME) and add "
                f"--map {number}=1"
            )
        which = "" if len(foreground) == 1 else "say "
        return f"{which}class {foreground[0]}, add --map {number}={foreground[0]}"

    def _unknown(self, strange: NDArray[Any], place: str) -> InvalidArgumentError:
        low, high = strange.min(), strange.max()
        project = f"the project's classes are {self._known()}"
        if len(strange) >= _MANY:
            foreground = next((value for value in self._classes if value), 1)
            return InvalidArgumentError(
                f"{place} holds {len(strange)} numbers from {low} to {high} that are no label "
                f"classes ({project}); it looks like one number per object. To take all objects as "
                f"one class, add --map {max(1, int(low)) if low > 0 else 1}-={foreground}; "
                "`biosegment instances` tells the objects of a class apart again.",
                value=int(low),
            )
        return InvalidArgumentError(
            f"{place} holds the number {low}, which is no label class ({project}). If it means "
            f"{self._some_class(low)}; if it means not labelled, add --map {low}={NOT_LABELLED}.",
            value=int(low),
        )


def read_labels(
    labels: NDArray[Any],
    classes: Iterable[int],
    rules: Sequence[ValueRule] = (),
    *,
    source: str = "The mask",
    clears: bool = False,
) -> NDArray[np.uint8]:
    """The class values of labels that are in one piece; see ``LabelReader``."""
    reader = LabelReader(classes, rules, source=source, clears=clears)
    made = reader.read(labels)
    reader.finish()
    return made


def _whole(labels: NDArray[Any], place: str) -> NDArray[Any]:
    """The labels as integers.

    Raises:
        InvalidArgumentError: They are no whole numbers.
    """
    if labels.dtype.kind == "b":
        return labels.astype(np.uint8)
    if labels.dtype.kind in "iu":
        return labels
    if labels.dtype.kind != "f":
        raise InvalidArgumentError(
            f"{place} holds {labels.dtype}; labels are whole numbers, one a voxel."
        )
    wide = labels.astype(np.float64)
    broken = ~np.isfinite(wide) | (wide != np.trunc(wide)) | (np.abs(wide) >= 2**53)
    if bool(broken.any()):
        raise InvalidArgumentError(
            f"{place} holds {wide[broken].flat[0]:g}, and labels are whole numbers. If these are "
            "probabilities, cut them at a threshold first."
        )
    return wide.astype(np.int64)


def _distinct(numbers: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """The numbers that occur in a row of them, and for each the place among those."""
    low, high = int(numbers.min()), int(numbers.max())
    if high - low < 1 << 16:
        # Counting is many times faster than sorting.
        shifted = numbers.astype(np.int64) if high < 1 << 63 else numbers
        shifted = (shifted - low).astype(np.intp)
        there = np.bincount(shifted) > 0
        present = np.flatnonzero(there)
        places = np.zeros(there.size, np.intp)
        places[present] = np.arange(present.size)
        kind = np.uint64 if high >= 1 << 63 else np.int64
        return present.astype(kind) + kind(low), places[shifted]
    present, spots = np.unique(numbers, return_inverse=True)
    return present, spots
