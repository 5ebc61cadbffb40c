"""The gRPC server of a service: one interceptor for identity, errors and log lines."""

import asyncio
import hmac
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from biosegment.client.errors import DOMAIN, DomainError, InternalError, UnauthenticatedError
from biosegment.runtime import log

_log = log.get(__name__)
_HEALTH_PREFIX = "/grpc.health."
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
    ("grpc.max_receive_message_length", 8 << 20),
    ("grpc.so_reuseport", 0),
]


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
    """Checks the token and turns exceptions into statuses, for all four RPC kinds."""

    def __init__(self, token: str) -> None:
        self._token = f"Bearer {token}".encode()

    def admit(self, context: _Context) -> None:
        given = dict(context.invocation_metadata() or ()).get("authorization", "")
        text = given if isinstance(given, str) else given.decode("ascii", "replace")
        if not hmac.compare_digest(text.encode(), self._token):
            raise UnauthenticatedError(
                "The request carries no valid token. Take the one that `biosegment up` printed, "
                "or pass its connection file."
            )
        principal.set("local")

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


class GateInterceptor(grpc.aio.ServerInterceptor):
    """Identity and the one mapping of errors, in front of every RPC but health checks."""

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
        if handler is None or method.startswith(_HEALTH_PREFIX):
            return handler
        gate = self._gate

        def once(inner: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            async def call(request: Any, context: _Context) -> Any:
                try:
                    gate.admit(context)
                    return await inner(request, context)
                except (asyncio.CancelledError, grpc.aio.AbortError):
                    raise
                except Exception as error:  # noqa: BLE001 - mapped, and logged with traceback
                    await gate.fail(context, method, error)

            return call

        def stream(inner: Any) -> Callable[..., AsyncIterator[Any]]:
            async def call(request: Any, context: _Context) -> AsyncIterator[Any]:
                try:
                    gate.admit(context)
                    async for response in inner(request, context):
                        yield response
                except (asyncio.CancelledError, grpc.aio.AbortError):
                    raise
                except Exception as error:  # noqa: BLE001 - mapped, and logged with traceback
                    await gate.fail(context, method, error)

            return call

        codecs = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(once(handler.unary_unary), **codecs)
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(once(handler.stream_unary), **codecs)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(stream(handler.unary_stream), **codecs)
        return grpc.stream_stream_rpc_method_handler(stream(handler.stream_stream), **codecs)


class Server:
    """A gRPC server with health and reflection that drains before it stops."""

    def __init__(self, listen: str, token: str) -> None:
        self._server = grpc.aio.server(
            interceptors=[GateInterceptor(token)], options=SERVER_OPTIONS
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
        for name in ("", *self._names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace: float) -> None:
        """Reports not serving, lets running calls end within the grace, then stops."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)
