"""Errors over HTTP: {"error": {code, reason, message, metadata}} for whatever went wrong.

It is the shape in which the command line prints errors with --json.
"""

import uuid
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from biosegment.client import plain
from biosegment.client.errors import DomainError, InternalError, InvalidArgumentError
from biosegment.runtime import log

_log = log.get(__name__)

HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""The HTTP status of each gRPC code, as google/rpc/code.proto has them."""

_CODES = {404: "NOT_FOUND", 405: "UNIMPLEMENTED", 401: "UNAUTHENTICATED"}


def problem(status: int, error: dict[str, Any]) -> JSONResponse:
    """A response with the one shape of errors."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"error": error}, status, headers)


def of_domain(error: DomainError) -> JSONResponse:
    """The response for an expected error."""
    return problem(HTTP_STATUS.get(error.code, 500), plain.problem(error)["error"])


def _on_domain_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DomainError)
    return of_domain(error)


def _on_bad_parameter(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = str(first["loc"][-1])
    return of_domain(InvalidArgumentError(f"{field}: {first['msg']}.", field=field))


def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "UNKNOWN")
    message = f"{request.method} {request.url.path[:200]}: {error.detail}."
    body = {"code": code, "reason": code, "message": message, "metadata": {}}
    return problem(error.status_code, body)


def _on_defect(request: Request, error: Exception) -> JSONResponse:
    incident = uuid.uuid4().hex[:12]
    _log.error("request.failed", path=request.url.path, incident=incident, exc_info=error)
    return of_domain(
        InternalError(
            f"The gateway failed (incident {incident}); its log says why.", incident=incident
        )
    )


def install(app: FastAPI) -> None:
    """Makes the application answer every error in this shape."""
    app.add_exception_handler(DomainError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_bad_parameter)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_defect)
