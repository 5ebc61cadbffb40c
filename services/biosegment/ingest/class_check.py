"""Do the values of a label image stand in the project's class table?"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biosegment.client.errors import InvalidArgumentError


def checked(
    pages: Iterable[NDArray[Any]], classes: Iterable[int], source: str
) -> Iterator[NDArray[Any]]:
    """Passes pages on, each checked.

    Args:
        pages: uint8, axes YX.
        classes: Values in the project's class table.
        source: Where the pages come from, for the message.

    Raises:
        InvalidArgumentError: A page holds a value that is not in the table.
    """
    known = sorted(set(classes))
    strange = np.ones(256, bool)
    strange[known] = False
    for n, page in enumerate(pages):
        found = strange[page]
        if found.any():
            value = int(page.flat[int(found.argmax())])
            raise InvalidArgumentError(
                f"Page {n + 1} of {source} holds the value {value}, which is not in the "
                f"project's class table ({', '.join(map(str, known)) or 'empty'}). Add the class, "
                "or change the labels.",
                value=value,
                page=n + 1,
            )
        yield page


def check_all(
    pages: Iterable[NDArray[Any]],
    classes: Iterable[int],
    source: str,
    *,
    voxels: int,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Checks pages until so many voxels have been seen; the import itself checks every page.

    Raises:
        InvalidArgumentError: A page holds a value that is not in the table.
    """
    for page in checked(pages, classes, source):
        check()
        voxels -= page.size
        if voxels <= 0:
            return
