"""An HTTP proxy in front of one server that fails now and then, as networks and servers do.

Faults are drawn from a seeded generator, so a run has the same mixture each time.
"""

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("slow down", "error", "reset", "lost answer", "cut answer", "delay")
"""503; 500; closed before the server saw the request; closed after it did the work; half an
answer; an answer that comes late."""
_STATUS = {"slow down": (503, "SlowDown"), "error": (500, "InternalError")}
_DELAY_SECONDS = 0.3
_SERVER_SECONDS = 60.0
_HOP = {"connection", "transfer-encoding", "keep-alive"}


class FaultyProxy:
    """Passes requests on to a server on 127.0.0.1. Use it with ``with``.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        rate: Of the requests that meet with a fault; may be changed at any time.
        faults: Which ones are drawn.
        hanging: While set, requests are taken and never answered.
        met: How often each fault was met.
        requests: How many requests came in all.
    """

    def __init__(self, target: int, *, seed: int, rate: float) -> None:
        self.rate = rate
        self.faults: tuple[str, ...] = FAULTS
        self._deck: list[str] = []
        self.hanging = threading.Event()
        self.met: Counter[str] = Counter()
        self.requests = 0
        self._target = target
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def draw(self) -> str:
        """The fault of the next request, or nothing."""
        with self._lock:
            self.requests += 1
            if self._random.random() >= self.rate:
                return ""
            # Dealt like cards, so that a short run meets with every kind too.
            if not self._deck:
                self._deck = self._random.sample(self.faults, len(self.faults))
            fault = self._deck.pop()
            self.met[fault] += 1
            return fault

    def __enter__(self) -> "FaultyProxy":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hanging.clear()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                while proxy.hanging.is_set():
                    time.sleep(0.05)
                fault = proxy.draw()
                if fault == "delay":
                    time.sleep(_DELAY_SECONDS)
                if fault in _STATUS:
                    status, code = _STATUS[fault]
                    answer = f"<Error><Code>{code}</Code><Message>Try again.</Message></Error>"
                    self.answer(status, [("Content-Type", "application/xml")], answer.encode())
                elif fault == "reset":
                    self.reset()
                else:
                    status, headers, data = self.ask(body)
                    if fault == "lost answer":
                        self.reset()
                    else:
                        self.answer(status, headers, data, cut=fault == "cut answer")

            def ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
                server = http.client.HTTPConnection(
                    "127.0.0.1", proxy._target, timeout=_SERVER_SECONDS
                )
                with contextlib.closing(server):
                    # The host is part of what the client signed.
                    server.putrequest(
                        self.command, self.path, skip_host=True, skip_accept_encoding=True
                    )
                    for name, value in self.headers.items():
                        if name.lower() not in _HOP:
                            server.putheader(name, value)
                    server.endheaders(body or None)
                    found = server.getresponse()
                    return found.status, found.getheaders(), found.read()

            def answer(
                self,
                status: int,
                headers: list[tuple[str, str]],
                data: bytes,
                *,
                cut: bool = False,
            ) -> None:
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in _HOP | {"content-length"}:
                        self.send_header(name, value)
                length = len(data)
                if self.command == "HEAD":
                    length = int(dict(headers).get("Content-Length", 0))
                self.send_header("Content-Length", str(length))
                self.end_headers()
                if self.command == "HEAD":
                    return
                self.wfile.write(data[: len(data) // 2] if cut else data)
                if cut:
                    self.reset()

            def reset(self) -> None:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on  # noqa: N815

            def handle_one_request(self) -> None:
                with contextlib.suppress(OSError):
                    super().handle_one_request()
                    return
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        return Handler
