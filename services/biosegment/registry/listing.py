"""One page of a list: keyset paging, cut by count and by size."""

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.errors import InvalidArgumentError
from biosegment.registry.paging import decode_token, encode_token, page_size

_R = TypeVar("_R")
_M = TypeVar("_M", bound=Message)

COMPARED = 1000
"""A name that is not there is compared with so many that are, for one that was meant."""

PAGE_BYTES = 2 << 20
"""A page ends before it grows beyond this; clients take messages up to 4 MiB."""


def after_name(token: str) -> str:
    """The name that a page continues after; empty for the first page.

    Raises:
        InvalidArgumentError: The token is not one of ours.
    """
    key = decode_token(token)
    if not key.isprintable():
        raise InvalidArgumentError(
            "The page_token is damaged; begin again without one.", field="page_token"
        )
    return key


def after_number(token: str, first: int = 0) -> int:
    """The number that a page continues after; ``first`` for the first page.

    Raises:
        InvalidArgumentError: The token is not one of ours.
    """
    key = decode_token(token)
    if not key:
        return first
    # 18 digits are what 64 bits always hold.
    if not (key.isascii() and key.isdigit() and len(key) <= 18):
        raise InvalidArgumentError(
            "The page_token is damaged; begin again without one.", field="page_token"
        )
    return int(key)


async def list_page(
    session: AsyncSession,
    query: Select[_R],
    asked: int,
    to_proto: Callable[[_R], _M],
    key: Callable[[_R], Any],
) -> tuple[list[_M], str]:
    """Reads one page.

    Args:
        session: To read with.
        query: The rows after the page's start, in order.
        asked: page_size as asked for.
        to_proto: Makes the answer's element of a row.
        key: What the next page continues after, given the last row of this one.

    Returns:
        The elements, and the next page's token, empty on the last page.

    Raises:
        InvalidArgumentError: page_size is negative.
    """
    size = page_size(asked)
    rows = (await session.scalars(query.limit(size + 1))).all()
    items: list[_M] = []
    total = 0
    for row in rows[:size]:
        item = to_proto(row)
        total += item.ByteSize()
        if items and total > PAGE_BYTES:
            break
        items.append(item)
    more = len(items) < len(rows)
    return items, encode_token(str(key(rows[len(items) - 1]))) if more else ""
