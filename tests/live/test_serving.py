"""A daemon serves on every kind of listener: tcp, tls, unix, and sockets that systemd passes."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import stat
import sys
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import unix_connect

from tests.support.daemon import ECHO, SECONDS, TLS_ECHO, Daemon, check_echo, make_certificate

pytestmark = pytest.mark.live

UNIX = """
[listener:web]
address = unix:./ws.sock:mode=660
[mount:/echo]
app = echo
"""

PASSED = """
[listener:named]
address = systemd:name=web
[listener:numbered]
address = systemd:index=1
[mount:/echo]
app = echo
"""

AS_SYSTEMD = """
import os, sys
count = int(sys.argv[1])
for number, descriptor in enumerate(sys.argv[2:2 + count]):
    os.dup2(int(descriptor), 3 + number)
os.environ.update(LISTEN_FDS=str(count), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="web:other")
os.execv(sys.argv[2 + count], sys.argv[2 + count:])
"""
"""Does what systemd does: puts the sockets at 3 and on, says so for this process id, and becomes the daemon."""


def test_tcp(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        with daemon.connect() as client:
            check_echo(client, "text")
            client.send(b"\x00\xffbinary")
            assert client.recv(SECONDS) == b"\x00\xffbinary"
            assert client.response is not None
            assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
            check_echo(client, "compressed " * 10_000)
        with pytest.raises(InvalidStatus) as refused:
            daemon.connect("/elsewhere")
        assert refused.value.response.status_code == 404
    assert daemon.wait() == 0


def test_tcp_on_every_address_is_ipv4_and_ipv6(tmp_path: Path) -> None:
    with Daemon(tmp_path, ECHO.replace(":interface=127.0.0.1", "")) as daemon:
        daemon.check_echo()
        if socket.has_dualstack_ipv6():
            with socket.create_connection(("::1", daemon.port), SECONDS) as sock, daemon.connect(sock=sock) as client:
                check_echo(client)


def test_tls(tmp_path: Path) -> None:
    context = make_certificate(tmp_path)
    with Daemon(tmp_path, TLS_ECHO) as daemon, daemon.connect(ssl=context) as client:
        check_echo(client)
        check_echo(client, "long " * 50_000)
        assert isinstance(client.socket, ssl.SSLSocket)
        assert client.socket.version() == "TLSv1.3"
        assert client.socket.selected_alpn_protocol() in (None, "http/1.1")


def test_a_certificate_renewed_in_place_is_served_after_sighup(tmp_path: Path) -> None:
    old = make_certificate(tmp_path)
    with Daemon(tmp_path, TLS_ECHO) as daemon, daemon.connect(ssl=old) as before:
        new = make_certificate(tmp_path)
        daemon.tell(signal.SIGHUP)
        daemon.output.wait_for("certificate")
        with daemon.connect(ssl=new) as after:
            check_echo(after)
        check_echo(before)


def test_unix(tmp_path: Path) -> None:
    path = tmp_path / "ws.sock"
    with Daemon(tmp_path, UNIX) as daemon:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with unix_connect(str(path), "ws://localhost/echo") as client:
            check_echo(client)
        assert daemon.stop() == 0
    assert not path.exists()


def test_a_unix_socket_left_by_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "ws.sock"))
    with Daemon(tmp_path, UNIX), unix_connect(str(tmp_path / "ws.sock"), "ws://localhost/echo") as client:
        check_echo(client)


def test_sockets_from_systemd(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as named, socket.create_server(("127.0.0.1", 0)) as numbered:
        sockets = [named, numbered]
        # far from 3 and 4, where they go
        high = [os.dup(sock.fileno()) for sock in sockets]
        before = [sys.executable, "-c", AS_SYSTEMD, "2", *map(str, high)]
        with Daemon(tmp_path, PASSED, before=before, pass_fds=high) as daemon:
            for sock in sockets:
                daemon.ports = {"web": sock.getsockname()[1]}
                daemon.check_echo()
            assert daemon.stop() == 0
        for descriptor in high:
            os.close(descriptor)


def test_two_listeners_and_their_mounts(tmp_path: Path) -> None:
    inside = "[listener:inside]\naddress = tcp:0:interface=127.0.0.1\nmounts = /ticker\n[mount:/ticker]\napp = ticker\ninterval = 10ms\n"
    with Daemon(tmp_path, ECHO + inside) as daemon:
        with daemon.connect("/ticker") as client:
            assert str(client.recv(SECONDS)).startswith('{"time"')
        daemon.ports = {"inside": daemon.ports["inside"]}
        with daemon.connect("/ticker") as client:
            client.recv(SECONDS)
        with pytest.raises(InvalidStatus):
            daemon.connect("/echo")
