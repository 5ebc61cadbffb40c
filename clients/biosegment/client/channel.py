"""gRPC channels that carry the token, always have a deadline, and raise DomainErrors.

Generated stubs only need four factory methods of a channel; wrapping those
covers every RPC kind in one place, which client interceptors do not (an aio
interceptor cannot see errors raised while a response stream is read).

A platform that was started anew may have other addresses and another token. When a service cannot
be reached or takes the token for none, the connection file is read again; where it says something
else, the channel is opened anew, and the call repeated unless it had begun to stream.
"""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import grpc
import grpc.aio

from biosegment.client.connection import Connection
from biosegment.client.errors import DomainError, UnauthenticatedError, UnavailableError
from biosegment.client.wire import (
    CHANNEL_OPTIONS,
    DEFAULT_TIMEOUT_SECONDS,
    STREAM_TIMEOUT_SECONDS,
    domain_error,
)

_MOVED = (UnavailableError, UnauthenticatedError)


class _Line:
    """The channel to a service as the connection file has it now, and the methods made of it."""

    def __init__(self, connection: Connection, service: str, dial: Callable[[str], Any]) -> None:
        self.connection = connection
        self.service = service
        self.metadata = [("authorization", f"Bearer {connection.token}")]
        self.channel = dial(connection.address(service))
        self._methods: dict[tuple[str, str], Any] = {}

    def method(self, kind: str, path: str, codecs: tuple[Any, ...], options: Any) -> Any:
        """The callable of an RPC."""
        key = (kind, path)
        if key not in self._methods:
            make = getattr(self.channel, kind)
            self._methods[key] = make(path, *codecs, **options)
        return self._methods[key]


class _Channel:
    """What both kinds of channel share: which line to use, and when to look for another."""

    def __init__(self, connection: Connection, service: str, dial: Callable[[str], Any]) -> None:
        self._dial = dial
        self._lock = threading.Lock()
        self.line = _Line(connection, service, dial)
        self.left: list[Any] = []

    def moved(self, used: _Line, error: DomainError) -> bool:
        """Whether the platform is elsewhere than the line that failed; then there is a new one."""
        if not isinstance(error, _MOVED):
            return False
        with self._lock:
            if self.line is not used:
                return True
            before, fresh = used.connection, used.connection.fresh()
            try:
                address = fresh.address(used.service)
            except DomainError:
                return False
            if (fresh.token, address) == (before.token, before.address(used.service)):
                return False
            # Calls of others may still be under way on the old one.
            self.left.append(used.channel)
            self.line = _Line(fresh, used.service, self._dial)
            return True

    def error(self, error: grpc.RpcError, line: _Line) -> DomainError:
        """The error that a failed call stands for."""
        known = domain_error(error, line.service)
        if isinstance(known, UnavailableError) and line.connection.is_stale:
            return UnavailableError(
                f"The {line.service} service cannot be reached: the platform was stopped, for its "
                f"connection file {line.connection.path} is gone. It is found again once "
                "`biosegment up` runs.",
                path=line.connection.path,
            )
        return known


class _AsyncChannel:
    def __init__(self, connection: Connection, service: str) -> None:
        self._held = _Channel(
            connection,
            service,
            lambda address: grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS),
        )

    async def close(self) -> None:
        for channel in (*self._held.left, self._held.line.channel):
            await channel.close()

    def _answered_once(
        self, kind: str, default: float, path: str, codecs: tuple[Any, ...], options: Any
    ) -> Callable[..., Any]:
        held, repeats = self._held, kind == "unary_unary"

        async def call(request: Any, timeout: float | None = None) -> Any:
            line = held.line
            while True:
                method = line.method(kind, path, codecs, options)
                try:
                    return await method(request, timeout=timeout or default, metadata=line.metadata)
                except grpc.aio.AioRpcError as error:
                    known = held.error(cast("grpc.RpcError", error), line)
                if not held.moved(line, known) or not repeats:
                    raise known
                line = held.line

        return call

    def _answered_by_stream(
        self, kind: str, path: str, codecs: tuple[Any, ...], options: Any
    ) -> Callable[..., Any]:
        held, repeats = self._held, kind == "unary_stream"

        async def call(request: Any, timeout: float | None = None) -> AsyncIterator[Any]:
            line, begun = held.line, False
            while True:
                responses = line.method(kind, path, codecs, options)(
                    request, timeout=timeout or STREAM_TIMEOUT_SECONDS, metadata=line.metadata
                )
                try:
                    async for response in responses:
                        begun = True
                        yield response
                    return
                except grpc.aio.AioRpcError as error:
                    known = held.error(cast("grpc.RpcError", error), line)
                finally:
                    responses.cancel()
                if not held.moved(line, known) or begun or not repeats:
                    raise known
                line = held.line

        return call

    def unary_unary(self, path: str, *codecs: Any, **options: Any) -> Callable[..., Any]:
        return self._answered_once("unary_unary", DEFAULT_TIMEOUT_SECONDS, path, codecs, options)

    def stream_unary(self, path: str, *codecs: Any, **options: Any) -> Callable[..., Any]:
        return self._answered_once("stream_unary", STREAM_TIMEOUT_SECONDS, path, codecs, options)

    def unary_stream(self, path: str, *codecs: Any, **options: Any) -> Callable[..., Any]:
        return self._answered_by_stream("unary_stream", path, codecs, options)

    def stream_stream(self, path: str, *codecs: Any, **options: Any) -> Callable[..., Any]:
        return self._answered_by_stream("stream_stream", path, codecs, options)


class _SyncChannel:
    def __init__(self, connection: Connection, service: str) -> None:
        self._held = _Channel(
            connection,
            service,
            lambda address: grpc.insecure_channel(address, options=CHANNEL_OPTIONS),
        )

    def close(self) -> None:
        for channel in (*self._held.left, self._held.line.channel):
            channel.close()

    def _answered_once(
        self, kind: str, default: float, path: str, codecs: tuple[Any, ...], options: Any
    ) -> Callable[..., Any]:
        held, repeats = self._held, kind == "unary_unary"

        def call(request: Any, timeout: float | None = None) -> Any:
            line = held.line
            while True:
                method = line.method(kind, path, codecs, options)
                try:
                    return method(request, timeout=timeout or default, metadata=line.metadata)
                except grpc.RpcError as error:
                    known = held.error(error, line)
                if not held.moved(line, known) or not repeats:
                    raise known
                line = held.line

        return call

    def _answered_by_stream(
        self, kind: str, path: str, codecs: tuple[Any, ...], options: Any
    ) -> Callable[..., Any]:
        held, repeats = self._held, kind == "unary_stream"

        def call(request: Any, timeout: float | None = None) -> Iterator[Any]:
            line, begun = held.line, False
            while True:
                responses = line.method(kind, path, codecs, options)(
                    request, timeout=timeout or STREAM_TIMEOUT_SECONDS, metadata=line.metadata
                )
                try:
                    for response in responses:
                        begun = True
                        yield response
                    return
                except grpc.RpcError as error:
                    known = held.error(error, line)
                finally:
                    responses.cancel()
                if not held.moved(line, known) or begun or not repeats:
                    raise known
                line = held.line

        return call

    def unary_unary(self, path: str, *codecs: Any, **options: Any) -> Callable[..., Any]:
        return self._answered_once("unary_unary", DEFAULT_TIMEOUT_SECONDS, path, codecs, options)

    def stream_unary(self, path: str, *codecs: Any, **options: Any) -> Callable[..., Any]:
        return self._answered_once("stream_unary", STREAM_TIMEOUT_SECONDS, path, codecs, options)

    def unary_stream(self, path: str, *codecs: Any, **options: Any) -> Callable[..., Any]:
        return self._answered_by_stream("unary_stream", path, codecs, options)

    def stream_stream(self, path: str, *codecs: Any, **options: Any) -> Callable[..., Any]:
        return self._answered_by_stream("stream_stream", path, codecs, options)
