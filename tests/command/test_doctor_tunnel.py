"""command/doctor_tunnel.py: proxies of a few lines, one of which opens a tunnel before the server has agreed to it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from wsdaemon.client.target import parse
from wsdaemon.command.doctor_tunnel import check_tunnel
from wsdaemon.command.findings import CheckFinding, Verdict
from wsdaemon.command.raw import RawConnection

Serve = Callable[[socket.socket], None]

UPGRADE_REFUSED = b"HTTP/1.1 426 Upgrade Required\r\nServer: behind\r\nContent-Length: 5\r\n\r\nsorry"
IN_CHUNKS = b"HTTP/1.1 426 Upgrade Required\r\nServer: behind\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsorry\r\n0\r\n\r\n"
BAD = b"HTTP/1.1 400 Bad Request\r\nServer: %s\r\nContent-Length: 0\r\n\r\n"
MOVED = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


@contextlib.contextmanager
def server(serve: Serve) -> Iterator[int]:
    """Serves each connection in a thread; the port."""
    threads = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=one, args=(connection,)))
                threads[-1].start()

        def one(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                serve(connection)

        accepting = threading.Thread(target=accept)
        accepting.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    for thread in [accepting, *threads]:
        thread.join()


def heads(connection: socket.socket) -> Iterator[bytes]:
    data = b""
    while piece := connection.recv(65536):
        data += piece
        while b"\r\n\r\n" in data:
            head, _, data = data.partition(b"\r\n\r\n")
            yield head


def behind(connection: socket.socket, refusal: bytes, stays: bool = True) -> None:
    """The server behind the proxies."""
    for head in heads(connection):
        connection.sendall(refusal if head.startswith(b"GET") else BAD % b"behind")
        if not stays:
            return


def proxy(connection: socket.socket, port: int, tunnels: bool) -> None:
    """Reads requests, and asks the server behind; `tunnels`: passes all bytes on as soon as a request has Upgrade."""
    with socket.create_connection(("127.0.0.1", port)) as server:
        for head in heads(connection):
            if not head.startswith(b"GET"):
                connection.sendall(BAD % b"proxy")
                return
            server.sendall(head + b"\r\n\r\n")
            connection.sendall(server.recv(65536))
            while tunnels and b"upgrade:" in head.lower():
                data = connection.recv(65536)
                if not data:
                    return
                server.sendall(data)
                connection.sendall(server.recv(65536))


def examine(port: int) -> CheckFinding:
    return check_tunnel(partial(RawConnection, parse(f"ws://127.0.0.1:{port}/")), [("X-Key", "k")])


@pytest.mark.parametrize("refusal", [UPGRADE_REFUSED, IN_CHUNKS])
@pytest.mark.parametrize("tunnels", [True, False])
def test_a_tunnel_is_found_by_the_server_that_answers(tunnels: bool, refusal: bytes) -> None:
    with server(partial(behind, refusal=refusal)) as inner, server(partial(proxy, port=inner, tunnels=tunnels)) as outer:
        finding = examine(outer)
    if tunnels:
        assert finding.verdict is Verdict.PROBLEM
        assert finding.values == {"tunnels": ["a wrong Sec-WebSocket-Version", "an unknown protocol in Upgrade"]}
        assert "426" in finding.fix["nginx"] and "deny" in finding.fix["haproxy"]
    else:
        assert finding == CheckFinding("tunnel", Verdict.GOOD, "a refused upgrade opens no tunnel")


@pytest.mark.parametrize("stays", [True, False])
def test_without_a_proxy_there_is_no_tunnel(stays: bool) -> None:
    with server(partial(behind, refusal=UPGRADE_REFUSED, stays=stays)) as port:
        assert examine(port).verdict is Verdict.GOOD


def test_a_server_that_agrees_to_all_or_never_answers_shows_nothing() -> None:
    with server(partial(behind, refusal=MOVED)) as port:
        assert examine(port).verdict is Verdict.NOTE
    with server(lambda connection: None) as port:
        assert examine(port).verdict is Verdict.NOTE


def test_a_server_that_answers_each_time_in_another_way_cannot_be_judged() -> None:
    names = [b"a", b"b"]

    def answer(connection: socket.socket) -> None:
        for _ in heads(connection):
            connection.sendall(BAD % names.pop())

    with server(answer) as port:
        assert "several ways" in examine(port).text
