"""Servers for the tests of commands: admin pages that answer as they are told, and a control channel that does."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

Answer = tuple[int, object]


class AdminRequests:
    """The requests that came, and the answers to give: (method, path) with the path as it was sent."""

    def __init__(self, answers: Mapping[tuple[str, str], Answer]) -> None:
        self.answers = dict(answers)
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.port = 0


class QuietServer(HTTPServer):
    """A client that it refuses leaves no line."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def admin_server(answers: Mapping[tuple[str, str], Answer], tls: ssl.SSLContext | None = None) -> Iterator[AdminRequests]:
    """A server of JSON pages; anything that is not among the answers is a 404. With `tls` it is https."""
    requests = AdminRequests(answers)

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            requests.seen.append((self.command, self.path, dict(self.headers.items()), body))
            status, content = requests.answers.get((self.command, self.path), (404, {"detail": "There is no such page."}))
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _answer

        def log_message(self, *arguments: Any) -> None:
            """Tests are quiet."""

    with QuietServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        requests.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield requests
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def control_server(path: Path, answer: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
    """A control channel that gives these lines to each request; the requests that came."""
    seen: list[dict[str, Any]] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection, connection.makefile("rwb") as lines:
                    request = json.loads(lines.readline() or b"{}")
                    if not request:
                        return
                    seen.append(request)
                    for line in answer(request):
                        lines.write(json.dumps(line).encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield seen
        finally:
            with socket.socket(socket.AF_UNIX) as last:  # ends the thread
                last.connect(str(path))
            thread.join()
