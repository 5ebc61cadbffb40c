"""Pages of lists (AIP-158): opaque tokens over an offset-free key."""

import base64

from biosegment.client.errors import InvalidArgumentError

_DEFAULT, _MOST = 50, 1000


def page_size(asked: int) -> int:
    """How many rows a page gets.

    Raises:
        InvalidArgumentError: A negative size was asked for.
    """
    if asked < 0:
        raise InvalidArgumentError("page_size must not be negative.", field="page_size")
    return min(asked or _DEFAULT, _MOST)


def encode_token(key: str) -> str:
    """The token that continues after a key."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def decode_token(token: str) -> str:
    """The key that a token continues after; empty for the first page.

    Raises:
        InvalidArgumentError: The token is not one of ours.
    """
    try:
        padded = token + "=" * (-len(token) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise InvalidArgumentError(
            "The page_token is damaged; begin again without one.", field="page_token"
        ) from None
