"""request_id: a repeat of a Create or Start gets the first answer (AIP-155)."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from biosegment.client.errors import InvalidArgumentError, UnavailableError
from biosegment.registry.database import now
from biosegment.registry.tables.outbox import RequestRow

_A = TypeVar("_A", bound=Message)


async def once(
    session: AsyncSession,
    method: str,
    request_id: str,
    answer_type: type[_A],
    make: Callable[[], Awaitable[_A]],
) -> _A:
    """Returns the recorded answer to a request_id, or makes and records it.

    Args:
        session: The transaction in which ``make`` writes.
        method: Name of the RPC; an id must not serve two.
        request_id: As given; empty means that the caller takes the risk.
        answer_type: Class of the answer.
        make: Does the work.

    Raises:
        InvalidArgumentError: The id was used for another method, or is too long.
        UnavailableError: Another call with the id is being answered; clients repeat it themselves.
    """
    if not request_id:
        return await make()
    if len(request_id) > 64:
        raise InvalidArgumentError("A request_id has at most 64 characters.", field="request_id")
    row = await session.get(RequestRow, request_id)
    if row is not None:
        if row.method != method:
            raise InvalidArgumentError(
                "The request_id was used for another request before; take a new one.",
                field="request_id",
            )
        return answer_type.FromString(row.answer)
    row = RequestRow(request_id=request_id, method=method, answer=b"", create_time=now())
    session.add(row)
    try:
        # Taken before the work: a repeat that comes meanwhile waits here, and then fails.
        await session.flush()
    except IntegrityError:
        raise UnavailableError(
            "The first call with this request_id is just being answered; repeat the call."
        ) from None
    answer = await make()
    row.answer = answer.SerializeToString()
    return answer
