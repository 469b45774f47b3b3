"""The end of a daemon: no new clients, 1012 for the others, a bounded wait, and status 0."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.support.daemon import ECHO, SECONDS, TLS_ECHO, Daemon, check_echo, make_certificate

pytestmark = pytest.mark.live

LONG_DRAIN = "[daemon]\ndrain_timeout = 1h\n[defaults]\nclose_timeout = 1h\n" + ECHO
SHORT_DRAIN = "[daemon]\ndrain_timeout = 50ms\n[defaults]\nclose_timeout = 1h\n" + ECHO

UPGRADE = (
    b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
RESTART = b"\x03\xf4"


def silent_client(daemon: Daemon) -> socket.socket:
    """A client that never answers a Close frame."""
    sock = socket.create_connection(("127.0.0.1", daemon.port), SECONDS)
    sock.sendall(UPGRADE)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += sock.recv(4096)
    assert answer.startswith(b"HTTP/1.1 101 ")
    return sock


def close_code(client: ClientConnection) -> int | None:
    with pytest.raises(ConnectionClosed):
        client.recv(SECONDS)
    return client.close_code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_closes_with_1012_and_ends_with_status_0(tmp_path: Path, number: signal.Signals) -> None:
    with Daemon(tmp_path) as daemon, daemon.connect() as one, daemon.connect() as two:
        check_echo(one)
        check_echo(two)
        daemon.tell(number)
        assert (close_code(one), close_code(two)) == (1012, 1012)
        assert daemon.wait() == 0


def test_tls_connections_are_drained_too(tmp_path: Path) -> None:
    context = make_certificate(tmp_path)
    with Daemon(tmp_path, TLS_ECHO) as daemon, daemon.connect(ssl=context) as client:
        daemon.tell(signal.SIGTERM)
        assert close_code(client) == 1012
        assert daemon.wait() == 0


def test_what_was_sent_before_the_signal_is_still_answered(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon, daemon.connect() as client:
        payload = "x" * 500_000
        client.send(payload)
        assert client.recv(SECONDS) == payload
        daemon.tell(signal.SIGTERM)
        assert close_code(client) == 1012


def test_nobody_new_is_let_in_during_the_drain(tmp_path: Path) -> None:
    with Daemon(tmp_path, LONG_DRAIN) as daemon, silent_client(daemon) as silent:
        daemon.tell(signal.SIGTERM)
        assert RESTART in silent.recv(100)
        with pytest.raises(ConnectionRefusedError):
            daemon.connect()
        assert daemon.running
        daemon.tell(signal.SIGTERM)
        assert daemon.wait() == 0


def test_a_client_that_does_not_answer_is_dropped_when_the_time_is_up(tmp_path: Path) -> None:
    with Daemon(tmp_path, SHORT_DRAIN) as daemon, silent_client(daemon):
        assert daemon.stop() == 0
        daemon.output.wait_for("1 connections? did not close in time")


def test_a_client_that_answers_late_is_waited_for(tmp_path: Path) -> None:
    with Daemon(tmp_path, LONG_DRAIN) as daemon, silent_client(daemon) as late:
        daemon.tell(signal.SIGTERM)
        assert RESTART in late.recv(100)
        late.sendall(b"\x88\x82\x00\x00\x00\x00" + RESTART)
        assert daemon.wait() == 0
        assert "did not close in time" not in daemon.log


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once(tmp_path: Path, second: signal.Signals) -> None:
    with Daemon(tmp_path, LONG_DRAIN) as daemon, silent_client(daemon) as silent:
        daemon.tell(signal.SIGTERM)
        assert RESTART in silent.recv(100)
        daemon.tell(second)
        assert daemon.wait() == 0


def test_a_connection_in_its_handshake_does_not_delay_the_end(tmp_path: Path) -> None:
    with Daemon(tmp_path, LONG_DRAIN) as daemon, socket.create_connection(("127.0.0.1", daemon.port), SECONDS) as half:
        half.sendall(b"GET /echo HT")
        daemon.check_echo()
        assert daemon.stop() == 0


def test_a_coroutine_sees_the_end_and_may_finish(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "async def app(connection):\n"
        "    async for message in connection:\n"
        "        connection.send(message)\n"
        "    print('finished', flush=True)\n"
    )
    with Daemon(tmp_path, ECHO.replace("= echo", "= app:app")) as daemon, daemon.connect() as client:
        check_echo(client)
        daemon.tell(signal.SIGTERM)
        assert close_code(client) == 1012
        assert daemon.wait() == 0
        daemon.output.wait_for("stdout  finished")
