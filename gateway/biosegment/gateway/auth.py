"""Who may ask: whoever carries the platform's token."""

import hmac
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from biosegment.client.errors import UnauthenticatedError

_bearer = HTTPBearer(auto_error=False, description="The token that `biosegment up` prints.")


async def require_token(
    request: Request,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> None:
    """Lets a request pass that carries the token.

    Raises:
        UnauthenticatedError: It carries none, or another one.
    """
    expected: str = request.app.state.connection.token
    token = given.credentials if given is not None else ""
    if not hmac.compare_digest(token.encode(), expected.encode()):
        raise UnauthenticatedError(
            "The request carries no valid token: send the header "
            "`Authorization: Bearer TOKEN` with the token that `biosegment up` printed."
        )
