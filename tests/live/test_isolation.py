"""Nothing that one client does ends the daemon or another client's connection."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import ECHO, SECONDS, TLS_ECHO, Daemon, check_echo, make_certificate

pytestmark = pytest.mark.live

UPGRADE = (
    b"GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
MASK = b"\x00\x00\x00\x00"

APPS = """
async def fails(connection):
    async for message in connection:
        raise RuntimeError("a fault in the app")

class AtOpen:
    def open(self, connection, handshake):
        raise RuntimeError("a fault in the app")

async def endless(connection):
    while True:
        await connection.send(b"x" * 65536)
"""

SETTINGS = """
[defaults]
max_message = 64KiB
max_fragments = 100
[listener:web]
address = tcp:0:interface=127.0.0.1
[mount:/echo]
app = echo
[mount:/fails]
app = apps:fails
[mount:/at-open]
app = apps:AtOpen
[mount:/endless]
app = apps:endless
"""


def frame(opcode: int, payload: bytes, first: int = 0x80) -> bytes:
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack(">H", len(payload))
    return bytes([first | opcode]) + size + MASK + payload


HOSTILE = {
    "nothing at all": b"",
    "not HTTP": b"\x00\xff\x16\x03\x01" * 200,
    "an endless request line": b"GET /" + b"a" * 200_000,
    "a thousand headers": b"GET /echo HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(1000)) + b"\r\n",
    "bare line feeds": b"GET /echo HTTP/1.1\nHost: x\n\n",
    "an HTTP request": b"GET / HTTP/1.0\r\n\r\n",
    "bytes after the upgrade that are no frame": UPGRADE % b"/echo" + b"\xff" * 5000,
    "a frame without a mask": UPGRADE % b"/echo" + b"\x81\x05hello",
    "text that is not UTF-8": UPGRADE % b"/echo" + frame(1, b"\xff\xfe"),
    "a message over the limit": UPGRADE % b"/echo" + b"\x82\xff" + struct.pack(">Q", 1 << 40) + MASK + b"x" * 100_000,
    "too many fragments": UPGRADE % b"/echo" + frame(1, b"", 0) + frame(0, b"", 0) * 1000,
    "a flood of pings": UPGRADE % b"/echo" + frame(9, b"p" * 125) * 5000,
    "a close with a bad code": UPGRADE % b"/echo" + frame(8, struct.pack(">H", 1005)),
    "half a frame": UPGRADE % b"/echo" + b"\x82\xfe\xff",
    "an app that fails": UPGRADE % b"/fails" + frame(1, b"hello"),
    "an app that fails at once": UPGRADE % b"/at-open",
    "an app that sends without end to a client that does not read": UPGRADE % b"/endless",
}


def send(sock: socket.socket, data: bytes) -> None:
    """Whatever becomes of it: the daemon may have dropped us before the end."""
    with contextlib.suppress(OSError):
        sock.sendall(data)


def reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "apps.py").write_text(APPS)
    with contextlib.suppress(AssertionError), Daemon(folder, SETTINGS) as daemon:  # its log holds the tracebacks of the apps' faults
        yield daemon


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("end", ["close", "reset", "stay"])
def test_a_hostile_client_hurts_nobody_else(served: Daemon, data: bytes, end: str) -> None:
    with served.connect() as witness:
        check_echo(witness, "before")
        sock = socket.create_connection(("127.0.0.1", served.port), SECONDS)
        send(sock, data)
        check_echo(witness, "meanwhile")
        served.check_echo("somebody new")
        if end == "reset":
            reset(sock)
        elif end == "close":
            sock.close()
        check_echo(witness, "after")
        served.check_echo("somebody new")
        sock.close()
    assert served.running


def test_hostile_bytes_on_a_tls_listener(tmp_path: Path) -> None:
    context = make_certificate(tmp_path)
    with Daemon(tmp_path, TLS_ECHO) as daemon, daemon.connect(ssl=context) as witness:
        for data in HOSTILE.values():
            plain = socket.create_connection(("127.0.0.1", daemon.port), SECONDS)
            send(plain, data)
            check_echo(witness)
            reset(plain)
            sock = socket.create_connection(("127.0.0.1", daemon.port), SECONDS)
            with context.wrap_socket(sock, server_hostname="localhost") as inside:
                send(inside, data)
                check_echo(witness)
                reset(inside)
        with pytest.raises(ssl.SSLError):
            daemon.connect(ssl=ssl.create_default_context())  # a client that does not trust us ends the handshake
        check_echo(witness)
        assert daemon.running


def test_many_who_come_and_go_at_once(tmp_path: Path) -> None:
    with Daemon(tmp_path, ECHO) as daemon, daemon.connect() as witness:
        crowd = [socket.create_connection(("127.0.0.1", daemon.port), SECONDS) for _ in range(300)]
        for number, sock in enumerate(crowd):
            send(sock, UPGRADE % b"/echo" if number % 2 else b"GET")
        check_echo(witness)
        for sock in crowd:
            reset(sock)
        check_echo(witness)
        daemon.check_echo()
        assert daemon.stop() == 0
