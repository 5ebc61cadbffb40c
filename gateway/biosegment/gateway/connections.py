"""Connections from outside: bounded in number, and in how long a peer may be waited for.

uvicorn alone waits for a request without end, and takes as many connections as come. A connection
that waits for its peer (for a request, its body, or the reading of an answer) costs the one that
opened it: it has a deadline, and it is the first to go where there are too many. One whose request
is being answered is never closed to make room.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from biosegment.runtime import log
from biosegment.runtime.files import allow_files

_log = log.get(__name__)
# Of the files that this process may open, for all but connections.
_OTHER_FILES = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a peer may take.

    Attributes:
        connections: At a time, from all addresses.
        connections_per_address: At a time, from one.
        header_seconds: For all of a request's headers, from the moment it can come.
        body_seconds: For all of its body.
        reading_seconds: For taking any part of an answer.
    """

    connections: int = 1024
    connections_per_address: int = 512
    header_seconds: float = 10.0
    body_seconds: float = 60.0
    reading_seconds: float = 30.0


@dataclass
class Guard:
    """Every connection of the process. Used in its event loop only."""

    limits: Limits
    _by_address: Counter[str] = field(default_factory=Counter)
    # In the order in which they began to wait for their peers.
    _waiting: "dict[GuardedProtocol, None]" = field(default_factory=dict)
    _open: int = 0

    def enter(self, connection: "GuardedProtocol", address: str) -> bool:
        """Counts a connection, closing another that waits if need be; False if there is no room."""
        crowded = self._by_address[address] >= self.limits.connections_per_address
        if crowded or self._open >= self.limits.connections:
            oldest = next(
                (each for each in self._waiting if not crowded or each.address == address), None
            )
            if oldest is None:
                _log.warning("connection.refused", address=address, reason="too many at work")
                return False
            oldest.drop("too many connections")
            self.leave(oldest, oldest.address)
        self._by_address[address] += 1
        self._open += 1
        return True

    def leave(self, connection: "GuardedProtocol", address: str) -> None:
        """Counts it no longer."""
        if not connection.counted:
            return
        connection.counted = False
        self._waiting.pop(connection, None)
        self._open -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

    def waits(self, connection: "GuardedProtocol", *, waits: bool) -> None:
        """Notes whether a connection waits for its peer; it keeps its place while it does."""
        if waits and connection.counted:
            self._waiting.setdefault(connection)
        else:
            self._waiting.pop(connection, None)


class GuardedProtocol(H11Protocol):
    """A connection that ends by itself when its peer is too slow."""

    guard: Guard
    """Of the process; set by ``guarded``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.address = ""
        self.counted = False
        self._state: Any = None
        self._unread = False
        self._due: asyncio.TimerHandle | None = None
        self._unread_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes a connection, or closes it at once."""
        super().connection_made(transport)
        self.address = _group(self.client[0]) if self.client else ""
        self.counted = self.guard.enter(self, self.address)
        if not self.counted:
            transport.abort()
            return
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self.guard.leave(self, self.address)
        for timer in (self._due, self._unread_due):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        # uvicorn leaves it running when the connection ended with an error.
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Takes what came."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Looks for the next request."""
        super().on_response_complete()
        # The response that has just ended was to this request, the next one has its own time.
        self._state = None
        self._look()

    def pause_writing(self) -> None:
        """The peer does not read what it asked for."""
        super().pause_writing()
        self._unread = True
        seconds = self.guard.limits.reading_seconds
        self._unread_due = self.loop.call_later(seconds, self.drop, "the answer was not read")
        self._look()

    def resume_writing(self) -> None:
        """It reads on."""
        super().resume_writing()
        self._unread = False
        if self._unread_due is not None:
            self._unread_due.cancel()
        self._look()

    def drop(self, reason: str) -> None:
        """Closes the connection at once."""
        _log.info("connection.dropped", address=self.address, reason=reason)
        self.transport.abort()

    def _look(self) -> None:
        """Sets the deadline of what the peer owes now."""
        state = self.conn.their_state
        owed = {
            h11.IDLE: ("no request came", self.guard.limits.header_seconds),
            h11.SEND_BODY: ("the request was not finished", self.guard.limits.body_seconds),
        }.get(state)
        self.guard.waits(self, waits=owed is not None or self._unread)
        if state is self._state or not self.counted:
            return
        self._state = state
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if owed is not None:
            reason, seconds = owed
            self._due = self.loop.call_later(seconds, self.drop, reason)


def guarded(limits: Limits) -> type[GuardedProtocol]:
    """The protocol class of a server with these limits, or with those of the machine if tighter."""
    files = allow_files(limits.connections + _OTHER_FILES)
    room = max(16, files - _OTHER_FILES)
    limits = replace(limits, connections=min(limits.connections, room))
    return type("Guarded", (GuardedProtocol,), {"guard": Guard(limits)})


def _group(host: str) -> str:
    """Whose address it is: in IPv6 a peer has all the addresses of a /64."""
    try:
        return str(IPv6Address(int(IPv6Address(host.partition("%")[0])) >> 64 << 64))
    except ValueError:
        return host
