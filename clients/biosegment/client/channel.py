"""gRPC channels that carry the token, always have a deadline, and raise DomainErrors.

Generated stubs only need four factory methods of a channel; wrapping those
covers every RPC kind in one place, which client interceptors do not (an aio
interceptor cannot see errors raised while a response stream is read).
"""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import grpc
import grpc.aio

from biosegment.client.connection import Connection
from biosegment.client.wire import (
    CHANNEL_OPTIONS,
    DEFAULT_TIMEOUT_SECONDS,
    STREAM_TIMEOUT_SECONDS,
    domain_error,
)


def _metadata(connection: Connection) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {connection.token}")]


class _AsyncChannel:
    def __init__(self, connection: Connection, service: str) -> None:
        self._service = service
        self._metadata = _metadata(connection)
        self._channel = grpc.aio.insecure_channel(
            connection.address(service), options=CHANNEL_OPTIONS
        )

    async def close(self) -> None:
        await self._channel.close()

    def _answered_once(self, method: Callable[..., Any], default: float) -> Callable[..., Any]:
        async def call(request: Any, timeout: float | None = None) -> Any:
            try:
                return await method(request, timeout=timeout or default, metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                raise domain_error(cast("grpc.RpcError", error), self._service) from None

        return call

    def _answered_by_stream(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(request: Any, timeout: float | None = None) -> AsyncIterator[Any]:
            responses = method(
                request, timeout=timeout or STREAM_TIMEOUT_SECONDS, metadata=self._metadata
            )
            try:
                async for response in responses:
                    yield response
            except grpc.aio.AioRpcError as error:
                raise domain_error(cast("grpc.RpcError", error), self._service) from None
            finally:
                responses.cancel()

        return call

    def unary_unary(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._answered_once(
            self._channel.unary_unary(*args, **kwargs), DEFAULT_TIMEOUT_SECONDS
        )

    def stream_unary(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._answered_once(
            self._channel.stream_unary(*args, **kwargs), STREAM_TIMEOUT_SECONDS
        )

    def unary_stream(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._answered_by_stream(self._channel.unary_stream(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._answered_by_stream(self._channel.stream_stream(*args, **kwargs))


class _SyncChannel:
    def __init__(self, connection: Connection, service: str) -> None:
        self._service = service
        self._metadata = _metadata(connection)
        self._channel = grpc.insecure_channel(connection.address(service), options=CHANNEL_OPTIONS)

    def close(self) -> None:
        self._channel.close()

    def _answered_once(self, method: Callable[..., Any], default: float) -> Callable[..., Any]:
        def call(request: Any, timeout: float | None = None) -> Any:
            try:
                return method(request, timeout=timeout or default, metadata=self._metadata)
            except grpc.RpcError as error:
                raise domain_error(error, self._service) from None

        return call

    def _answered_by_stream(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(request: Any, timeout: float | None = None) -> Iterator[Any]:
            responses = method(
                request, timeout=timeout or STREAM_TIMEOUT_SECONDS, metadata=self._metadata
            )
            try:
                yield from responses
            except grpc.RpcError as error:
                raise domain_error(error, self._service) from None
            finally:
                responses.cancel()

        return call

    def unary_unary(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._answered_once(
            self._channel.unary_unary(*args, **kwargs), DEFAULT_TIMEOUT_SECONDS
        )

    def stream_unary(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._answered_once(
            self._channel.stream_unary(*args, **kwargs), STREAM_TIMEOUT_SECONDS
        )

    def unary_stream(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._answered_by_stream(self._channel.unary_stream(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._answered_by_stream(self._channel.stream_stream(*args, **kwargs))
