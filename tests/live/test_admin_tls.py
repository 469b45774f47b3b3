"""The admin pages over TLS: client certificates, renewed files, bodies in chunks, tokens with roles, and the console's WebSocket."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from trustme import CA
from websockets.sync.client import connect

from tests.live.test_admin import ADMIN, PORT, TOKEN, write_token
from tests.support.daemon import SECONDS, Daemon, make_certificate

pytestmark = pytest.mark.live

SCRAPER = "scraper0123456789"

INI = f"""
[listener:web]
address = tcp:0:interface=127.0.0.1
[mount:/rooms/{{room}}]
app = rooms
history = 10
{ADMIN}
tls_certificate = cert.pem
tls_key = key.pem
client_ca = operators.pem
client_certificate = required
max_connections = 20
[token:scraper]
file = scraper
"""


def ask(port: int, context: ssl.SSLContext, method: str, path: str, body: Any = None, token: str = TOKEN) -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPSConnection("127.0.0.1", port, timeout=SECONDS, context=context)) as https:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "text/plain"}
        https.request(method, path, body, headers, encode_chunked=body is not None)
        with https.getresponse() as response:
            return response.status, response.read()


def serial(port: int, context: ssl.SSLContext) -> str:
    with socket.create_connection(("127.0.0.1", port), SECONDS) as plain, context.wrap_socket(plain, server_hostname="localhost") as tls:
        found = tls.getpeercert()
        assert found is not None
        return str(found["serialNumber"])


def with_certificate(context: ssl.SSLContext, operators: CA) -> ssl.SSLContext:
    operators.issue_cert("ada@example.com").configure_cert(context)
    return context


def test_pages_and_console_behind_client_certificates(tmp_path: Path) -> None:
    write_token(tmp_path)
    (tmp_path / "scraper").write_text(SCRAPER)
    operators = CA()
    operators.cert_pem.write_to_path(tmp_path / "operators.pem")
    operator = with_certificate(make_certificate(tmp_path), operators)
    with Daemon(tmp_path, INI) as daemon:
        [found] = daemon.output.wait_for(PORT)
        port = int(found[1])
        stranger = ssl.create_default_context()
        stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
        with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
            ask(port, stranger, "GET", "/livez")
        assert ask(port, operator, "GET", "/livez") == (200, b"live\n")
        assert ask(port, operator, "GET", "/metrics", token=SCRAPER)[0] == 200
        assert ask(port, operator, "POST", "/api/rooms/lobby/messages", iter([b"hel", b"lo"]), SCRAPER)[0] == 403
        assert ask(port, operator, "POST", "/api/rooms/lobby/messages", iter([b"hel", b"lo"]))[0] == 200
        assert json.loads(ask(port, operator, "GET", "/api/rooms/lobby/messages")[1])["messages"][0]["data"] == "hello"
        with connect(
            f"wss://localhost:{port}/console/live", sock=socket.create_connection(("127.0.0.1", port), SECONDS), ssl=operator, proxy=None,
            open_timeout=SECONDS, close_timeout=SECONDS,
        ) as console:  # fmt: skip
            console.send(json.dumps({"token": SCRAPER}))
            assert json.loads(console.recv(SECONDS))["rooms"] == 1

        # handshakes that never end lock no health check out
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), SECONDS)).sendall(b"\x16\x03\x01")
            assert ask(port, operator, "GET", "/livez") == (200, b"live\n")

        before = serial(port, operator)
        renewed = with_certificate(make_certificate(tmp_path), operators)
        daemon.tell(signal.SIGHUP)
        daemon.output.wait_for(r"cert\.pem: renewed")
        assert serial(port, renewed) != before
