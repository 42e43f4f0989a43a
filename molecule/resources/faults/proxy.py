"""Runs on the lab's host between it and the S3 server, and misbehaves as a file tells it. Standard library only.

    proxy.py PLAN CERTIFICATE AUTHORITY UPSTREAM

The plan is read at each request, a JSON object; without one all goes through. ``share`` of the requests with one of
``methods`` (all without it) is answered with ``status`` and the S3 error ``code``, waits ``delay`` seconds, or, with
``stall``, is never answered. Headers go on as they came, ``Host`` too: requests are signed.
"""

from __future__ import annotations

import http.client
import json
import random
import ssl
import sys
import time
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_FOR_EVER = 3600.0
_TIMEOUT = 120.0
#: Belong to one connection, or are written anew here.
_OWN = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


@dataclass(frozen=True)
class Way:
    """What the proxy needs to know.

    Attributes:
        plan: file with the present plan.
        upstream: address of the server.
        trusted: how it is trusted.
    """

    plan: Path
    upstream: str
    trusted: ssl.SSLContext


class Handler(BaseHTTPRequestHandler):
    """One request after the other of a connection."""

    protocol_version = "HTTP/1.1"
    way: Way

    def _any(self) -> None:
        body = self._body()
        plan = _plan(self.way.plan)
        if self.command in plan.get("methods", [self.command]) and random.random() < plan.get("share", 1.0):  # noqa: S311 - chance, not a secret
            if plan.get("stall"):
                time.sleep(_FOR_EVER)
            time.sleep(plan.get("delay", 0.0))
            if "status" in plan:
                self._answer(plan["status"], [("Date", formatdate(usegmt=True))], _error(plan["code"]))
                return
        connection = http.client.HTTPSConnection(self.way.upstream, 443, timeout=_TIMEOUT, context=self.way.trusted)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in {"expect", "connection"}:
                connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        self._answer(response.status, response.getheaders(), response.read())
        connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any  # noqa: N815 - the names are the library's

    def _body(self) -> bytes:
        """What came with the request; pieces keep their frames, they are sent on as they are."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        whole = b""
        while True:
            line = self.rfile.readline()
            size = int(line.split(b";")[0], 16)
            whole += line + (self.rfile.read(size + 2) if size else b"")
            if not size:
                while (line := self.rfile.readline()) not in {b"\r\n", b"\n", b""}:
                    whole += line
                return whole + b"\r\n"

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        size = str(len(body))
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                size = value
            elif name.lower() not in _OWN:
                self.send_header(name, value)
        self.send_header("Content-Length", size)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        """Say nothing."""


def serve(way: Way, certificate: str) -> None:
    """Answer on port 443 of loopback until it is ended."""
    Handler.way = way
    server = ThreadingHTTPServer(("127.0.0.1", 443), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    # The handshake is made by the thread of the connection: one client that waits must not stop the others.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


def _plan(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"share": 0.0}
    return content


def _error(code: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'.encode()


if __name__ == "__main__":
    serve(Way(Path(sys.argv[1]), sys.argv[4], ssl.create_default_context(cafile=sys.argv[3])), sys.argv[2])
