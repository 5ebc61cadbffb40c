"""Label files as class values, page by page."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from biosegment.client.label_values import LabelReader
from biosegment.ingest.readers.base import Stack


def translated(stack: Stack, labels: LabelReader) -> Iterator[NDArray[np.uint8]]:
    """Yields the pages of label files as class values, uint8, axes YX.

    Missing sections that are filled are not labelled, whatever the numbers of the files mean.
    ``labels.finish`` is the caller's, who knows whether he has seen them all.

    Raises:
        InvalidArgumentError: A page holds a number without a meaning, or cannot be read.
    """
    number = 0
    for part in stack.parts:
        if isinstance(part, int):
            number += part
            for _ in range(part):
                yield labels.missing(stack.shape[1:])
        else:
            for page in part.pages():
                number += 1
                yield labels.read(page, f"page {number}")


def check_all(
    stack: Stack,
    labels: LabelReader,
    *,
    voxels: int,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Checks pages until so many voxels have been seen; the import itself checks every page.

    Args:
        stack: The files.
        labels: What makes class values of their numbers.
        voxels: To look at, at most.
        check: Called for each page; may raise to stop.

    Raises:
        InvalidArgumentError: A page holds a number without a meaning, or all pages hold one that
            could mean two things.
    """
    for page in translated(stack, labels):
        check()
        voxels -= page.size
        if voxels <= 0:
            return
    labels.finish()
