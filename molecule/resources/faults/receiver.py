"""Runs on the lab's host: a web server that writes down each message that it is sent. Standard library only.

Its last port is a dead-man's switch as such services are: once it was called, it speaks up when the calls stop.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_LOOK = 1.0


@dataclass
class Book:
    """What was heard, a line each."""

    sink: Path
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, title: str, body: str) -> None:
        """Write a message down."""
        with self.lock, self.sink.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"at": time.time(), "title": title, "body": body}) + "\n")


@dataclass
class Switch:
    """A dead-man's switch."""

    book: Book
    silence: float
    called: float = 0.0
    silent: bool = False

    def call(self) -> None:
        """A sign of life."""
        self.called = time.monotonic()
        if self.silent:
            self.silent = False
            self.book.note("dead-man's switch: heard again", "")

    def watch(self) -> None:
        """Speak up when nobody calls, for as long as this process lives."""
        while True:
            time.sleep(_LOOK)
            gone = time.monotonic() - self.called
            if self.called and gone > self.silence and not self.silent:
                self.silent = True
                self.book.note("dead-man's switch: no sign of life", f"for {gone:.0f} s")


def serve(book: Book, switch: Switch, ports: list[int]) -> None:
    """Listen on loopback until it is ended; the last port is the switch."""

    class Handler(BaseHTTPRequestHandler):
        """Takes what Apprise's json:// sends, and calls."""

        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            book.note(content.get("title", ""), content.get("message", ""))
            self._well()

        def do_GET(self) -> None:
            switch.call()
            self._well()

        def _well(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
            """Say nothing."""

    servers = [ThreadingHTTPServer(("127.0.0.1", port), Handler) for port in ports]
    threads = [threading.Thread(target=server.serve_forever) for server in servers]
    threads.append(threading.Thread(target=switch.watch))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    heard = Book(Path(sys.argv[1]))
    serve(heard, Switch(heard, float(sys.argv[2])), [int(port) for port in sys.argv[3:]])
