"""How the process keeps the memory that forwards use over and over.

The C library takes every large block from the kernel anew, which clears its pages one by one as
they are touched, and gives it back when it is freed. The feature maps of a large forward are such
blocks, and for a small network that takes half as long again as the network itself. So pages are
kept from forward to forward, and given back when a task is over.
"""

import ctypes
import sys
from functools import cache

# <malloc.h> of the GNU C library.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


@cache
def _library() -> ctypes.CDLL | None:
    """The C library, where it is GNU's; others do without."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None


def keep_pages() -> None:
    """From now on freed memory stays with the process, and large blocks come from it."""
    if (library := _library()) is not None:
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, _NEVER)


def give_back() -> None:
    """Returns what is free to the kernel."""
    if (library := _library()) is not None:
        library.malloc_trim(0)
