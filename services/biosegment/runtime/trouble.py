"""What goes wrong below tensorstore, in a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from biosegment.client.errors import StoreError


@contextmanager
def store_trouble(what: str, name: str = "") -> Iterator[None]:
    """Turns what tensorstore raises for a store that is damaged, full or away into a StoreError.

    Args:
        what: What cannot be done; begins the sentence.
        name: The resource concerned.

    Raises:
        StoreError: The block raised ValueError or OSError.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        why = (str(error).splitlines() or [""])[0][:500]
        raise StoreError(f"{what}: {why}", name=name) from None
