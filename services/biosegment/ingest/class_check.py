"""Do the numbers of label files have a meaning? Looked at before there is a job."""

from collections.abc import Callable, Iterable
from typing import Any

from numpy.typing import NDArray

from biosegment.client.label_values import LabelReader


def check_all(
    pages: Iterable[NDArray[Any]],
    reader: LabelReader,
    *,
    voxels: int,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Checks pages until so many voxels have been seen; the import itself checks every page.

    Args:
        pages: Whole numbers, axes YX.
        reader: What makes class values of them.
        voxels: To look at, at most.
        check: Called for each page; may raise to stop.

    Raises:
        InvalidArgumentError: A page holds a number without a meaning, or all pages hold one that
            could mean two things.
    """
    for n, page in enumerate(pages):
        check()
        reader.read(page, f"page {n + 1}")
        voxels -= page.size
        if voxels <= 0:
            return
    reader.finish()
