"""What can be set about an architecture. Free of torch."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from biosegment.client.errors import InvalidArgumentError

Parameters = dict[str, int | float]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an architecture.

    Attributes:
        default: Taken where none is given; its type is the parameter's type.
        minimum: Smallest value allowed.
        maximum: Largest value allowed.
        odd: Whether even values are refused.
    """

    default: int | float
    minimum: int | float
    maximum: int | float
    odd: bool = False

    def check(self, name: str, value: Any) -> int | float:
        """The value in the parameter's type.

        Raises:
            InvalidArgumentError: It is no number, not whole or odd where it must be, or out of
                range.
        """
        whole = isinstance(self.default, int)
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise InvalidArgumentError(f"The parameter {name} must be a number.", field=name)
        if whole and value != int(value):
            raise InvalidArgumentError(
                f"The parameter {name} must be a whole number, not {value}.", field=name
            )
        if not self.minimum <= value <= self.maximum:
            raise InvalidArgumentError(
                f"The parameter {name} must lie between {self.minimum} and {self.maximum}; it is "
                f"{value:g}.",
                field=name,
            )
        if self.odd and value % 2 == 0:
            raise InvalidArgumentError(
                f"The parameter {name} must be odd, so that a section has as many neighbours on "
                f"either side; it is {value:g}.",
                field=name,
            )
        return int(value) if whole else float(value)
