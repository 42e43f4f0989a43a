"""Runs on the lab's host: a web server that writes down each message that it is sent. Standard library only."""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def serve(sink: Path, ports: list[int]) -> None:
    """Listen on loopback until it is ended."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        """Takes what Apprise's json:// sends."""

        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            note = {"at": time.time(), "title": content.get("title", ""), "body": content.get("message", "")}
            with lock, sink.open("a", encoding="utf-8") as file:
                file.write(json.dumps(note) + "\n")
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
            """Say nothing."""

    servers = [ThreadingHTTPServer(("127.0.0.1", port), Handler) for port in ports]
    threads = [threading.Thread(target=server.serve_forever) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), [int(port) for port in sys.argv[2:]])
