"""An HTTP proxy that misbehaves on request, between a client and a real S3 server."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlparse

SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
BROKEN = b"<Error><Code>InternalError</Code><Message>We failed.</Message></Error>"


@dataclass(frozen=True)
class Fault:
    """What happens to one request: an error status, no answer for some seconds, or a body that ends early."""

    status: int | None = None
    hang: float = 0.0
    cut_after: int | None = None  # bytes of the body


@dataclass
class Proxy:
    """`fault(number, path)` decides what happens to a shard's GET of that number, counted from 0."""

    upstream: str
    fault: Callable[[int, str], Fault | None] = lambda number, path: None
    other_fault: Callable[[int, str], Fault | None] = lambda number, path: None  # likewise, to all other requests
    others: int = 0
    ranges: list[tuple[str, int, int]] = field(default_factory=list)  # of shards' GETs: path, first byte, last byte
    connections: list[socket.socket] = field(default_factory=list)
    port: int = 0
    _server: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                proxy.connections.append(self.connection)

            def log_message(self, *_: Any) -> None:
                pass

            def _forward(self) -> None:
                proxy.forward(self)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _forward  # noqa: N815

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_: Any) -> None:
                pass  # clients that give up

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """From here on connections are refused, and those that stand are broken."""
        self._server.shutdown()
        self._server.server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def forward(self, request: BaseHTTPRequestHandler) -> None:
        fault = None
        if request.command == "GET" and ".tar" in request.path:
            first, last = request.headers.get("Range", "bytes=0--1").removeprefix("bytes=").split("-", 1)
            fault = self.fault(len(self.ranges), request.path)
            self.ranges.append((request.path, int(first), int(last)))
        else:
            fault = self.other_fault(self.others, request.path)
            self.others += 1
        if fault is not None and fault.hang:
            time.sleep(fault.hang)
            request.close_connection = True
            return
        if fault is not None and fault.status is not None:
            self._answer(request, fault.status, SLOW_DOWN if fault.status == 503 else BROKEN, {})
            return
        status, headers, body = self._ask(request)
        if fault is not None and fault.cut_after is not None:
            request.send_response(status)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body[: fault.cut_after])
            request.wfile.flush()
            time.sleep(0.05)  # what was sent has arrived when the connection breaks
            request.connection.shutdown(socket.SHUT_RDWR)
            request.close_connection = True
            return
        self._answer(request, status, body, headers)

    def _ask(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        content = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection(urlparse(self.upstream).netloc)
        connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():  # Host too: it is signed
            connection.putheader(name, value)
        connection.endheaders(content)
        answer = connection.getresponse()
        body = answer.read()
        kept = {k: v for k, v in answer.getheaders() if k.lower() not in ("transfer-encoding", "connection", "date")}
        connection.close()
        return answer.status, kept, body

    @staticmethod
    def _answer(request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
        request.send_response(status)
        for name, value in headers.items():
            if name.lower() != "content-length" or request.command == "HEAD":
                request.send_header(name, value)
        if request.command != "HEAD":
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)


@contextmanager
def faulty_proxy(upstream: str) -> Iterator[Proxy]:
    proxy = Proxy(upstream)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
