"""The gRPC server of a service: one interceptor for identity, errors and log lines."""

import asyncio
import hmac
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from biosegment.client.errors import (
    DOMAIN,
    DeadlineError,
    DomainError,
    InternalError,
    InvalidArgumentError,
    UnauthenticatedError,
)
from biosegment.client.wire import MESSAGE_BYTES
from biosegment.runtime import border, log
from biosegment.runtime.files import allow_files

_log = log.get(__name__)
# Anybody may ask for it; to be told of every change takes a place for good, and the token.
_CHECK = "/grpc.health.v1.Health/Check"
_WATCH = "/grpc.health.v1.Health/Watch"
# Status text travels in headers, which proxies limit.
_MAX_MESSAGE = 1800

# The generated stubs type requests, not contexts.
_Context = grpc.aio.ServicerContext[Any, Any]
if TYPE_CHECKING:
    _Handler = grpc.RpcMethodHandler[Any, Any]
else:
    _Handler = grpc.RpcMethodHandler

principal: ContextVar[str] = ContextVar("principal", default="")
"""Who makes the current call."""

SERVER_OPTIONS = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
    # gRPC itself waits two minutes for a peer to greet, and for ever for it to ask something.
    ("grpc.server_handshake_timeout_ms", 5_000),
    ("grpc.max_connection_idle_ms", 120_000),
    ("grpc.max_concurrent_streams", 200),
    ("grpc.max_metadata_size", 16 << 10),
]
_CONNECTIONS = 4096
"""At a time. Each is a file, and where files run out nobody is answered."""
_OTHER_FILES = 256
_CALLS = 2000
"""At a time. Those without a token are refused before they count for long."""
REQUEST_SECONDS = 60.0
"""So long a request may take to come in; one of a stream has the time that its RPC gives it."""


def to_status(error: DomainError) -> status_pb2.Status:
    """The google.rpc.Status of an expected error: ErrorInfo, and BadRequest or RetryInfo."""
    code = code_pb2.Code.Value(error.code if error.code != "OK" else "UNKNOWN")
    details: list[Any] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    ]
    message = error.message[:_MAX_MESSAGE]
    if error.code == "INVALID_ARGUMENT":
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.metadata.get("field", ""), description=message
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    elif error.code == "FAILED_PRECONDITION":
        broken = error_details_pb2.PreconditionFailure.Violation(
            type=error.reason, subject=error.metadata.get("name", ""), description=message
        )
        details.append(error_details_pb2.PreconditionFailure(violations=[broken]))
    elif error.retryable:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.seconds = 1
        details.append(info)
    status = status_pb2.Status(code=code, message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


class _Gate:
    """Checks the token and what comes in, and turns exceptions into statuses."""

    def __init__(self, token: str) -> None:
        self._token = f"Bearer {token}".encode()

    def admits(self, metadata: Any) -> bool:
        """Whether a call carries the token."""
        given = dict(metadata or ()).get("authorization", "")
        text = given if isinstance(given, str) else given.decode("ascii", "replace")
        return hmac.compare_digest(text.encode(), self._token)

    async def fail(self, context: _Context, method: str, error: Exception) -> None:
        if isinstance(error, DomainError):
            _log.info("call.refused", rpc=method, reason=error.reason, message=error.message)
            known = error
        else:
            incident = uuid.uuid4().hex[:12]
            _log.error("call.failed", rpc=method, incident=incident, exc_info=error)
            known = InternalError(
                f"A service failed unexpectedly (incident {incident}); the line with that number "
                "in the platform's logs says why.",
                incident=incident,
            )
        await context.abort_with_status(rpc_status.to_status(to_status(known)))


async def _the_one(requests: AsyncIterator[Any]) -> Any:
    """The request of a call that has one."""
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            return await anext(aiter(requests))
    except TimeoutError:
        raise DeadlineError(f"The request was not finished within {REQUEST_SECONDS:g} s.") from None
    except StopAsyncIteration:
        raise InvalidArgumentError("The call ended without a request.") from None


async def _checked(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        _check(request)
        yield request


def _check(request: Any) -> None:
    if isinstance(request, Message):
        border.check(request)


class GateInterceptor(grpc.aio.ServerInterceptor):
    """Identity, what may come in, and the one mapping of errors, for all four RPC kinds.

    All but health checks pass it. Every kind is served as one with a stream of requests: what gRPC
    makes of a single request is waited for without end, and before anybody is asked for a token.
    """

    def __init__(self, token: str) -> None:
        self._gate = _Gate(token)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """Wraps the handler of a call."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        gate = self._gate
        admitted = gate.admits(handler_call_details.invocation_metadata)
        if handler is None or method == _CHECK or (admitted and method == _WATCH):
            return handler

        def admit() -> None:
            if not admitted:
                raise UnauthenticatedError(
                    "The request carries no valid token. Take the one that `biosegment up` "
                    "printed, or pass its connection file."
                )
            principal.set("local")

        async def given(requests: AsyncIterator[Any]) -> Any:
            if handler.request_streaming:
                return _checked(requests)
            request = await _the_one(requests)
            _check(request)
            return request

        async def once(requests: AsyncIterator[Any], context: _Context) -> Any:
            inner: Any = handler.stream_unary or handler.unary_unary
            try:
                admit()
                return await inner(await given(requests), context)
            except (asyncio.CancelledError, grpc.aio.AbortError):
                raise
            except Exception as error:  # noqa: BLE001 - mapped, and logged with traceback
                await gate.fail(context, method, error)

        async def stream(requests: AsyncIterator[Any], context: _Context) -> AsyncIterator[Any]:
            inner: Any = handler.stream_stream or handler.unary_stream
            try:
                admit()
                # Closed with the call: what it holds must not wait to be collected.
                async with aclosing(inner(await given(requests), context)) as responses:
                    async for response in responses:
                        yield response
            except (asyncio.CancelledError, grpc.aio.AbortError):
                raise
            except Exception as error:  # noqa: BLE001 - mapped, and logged with traceback
                await gate.fail(context, method, error)

        codecs = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(stream, **codecs)
        return grpc.stream_unary_rpc_method_handler(once, **codecs)


class Server:
    """A gRPC server with health and reflection that drains before it stops."""

    def __init__(self, listen: str, token: str) -> None:
        files = allow_files(_CONNECTIONS + _OTHER_FILES)
        connections = max(16, min(_CONNECTIONS, files - _OTHER_FILES))
        self._server = grpc.aio.server(
            interceptors=[GateInterceptor(token)],
            options=[*SERVER_OPTIONS, ("grpc.max_allowed_incoming_connections", connections)],
            maximum_concurrent_rpcs=_CALLS,
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._names: list[str] = []
        self._listen = listen
        self.port = 0

    def add(self, register: Callable[[Any, Any], None], servicer: Any, full_name: str) -> None:
        """Adds a servicer with the generated add_…_to_server function and its full name."""
        register(servicer, self._server)
        self._names.append(full_name)

    async def start(self) -> None:
        """Listens and reports every service as serving."""
        reflection.enable_server_reflection(
            [*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
        )
        self.port = self._server.add_insecure_port(self._listen)
        await self._server.start()
        await self.report(serving=True)

    async def report(self, *, serving: bool) -> None:
        """Says to whoever asks for its health whether the service does its work."""
        status = health_pb2.HealthCheckResponse
        for name in ("", *self._names):
            await self._health.set(name, status.SERVING if serving else status.NOT_SERVING)

    async def stop(self, grace: float) -> None:
        """Reports not serving, lets running calls end within the grace, then stops."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)
