"""command/raw.py: handshakes and frames by hand."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from wsdaemon.client.target import parse
from wsdaemon.command.exits import CommandFailed, Exit
from wsdaemon.command.raw import CLOSE, PING, RawConnection


@contextlib.contextmanager
def peer(speak: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server of one connection; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                speak(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{listening.getsockname()[1]}/path?x"
        finally:
            thread.join()


def read_head(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(4096)
    return data


def test_a_handshake_has_the_headers_that_are_given() -> None:
    heads: list[bytes] = []

    def speak(connection: socket.socket) -> None:
        heads.append(read_head(connection))
        connection.sendall(b"HTTP/1.1 101 Yes\r\nX-One: a\r\nServer: it\r\n\r\n\x81\x02hi\x89\x00\x88\x02\x03\xe8")

    with peer(speak) as url, RawConnection(parse(url)) as raw:
        answer = raw.request([("X-Two", "b")], body=b"", connection="Upgrade, X-Two")
        assert (answer.status, answer.headers) == (101, {"x-one": "a", "server": "it"})
        assert [raw.frame(5), raw.frame(5), raw.frame(5), raw.frame(5)] == [(1, b"hi"), (PING, b""), (CLOSE, b"\x03\xe8"), None]
    assert heads[0].startswith(b"GET /path?x HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nX-Two: b\r\n" in heads[0]
    assert b"\r\nConnection: Upgrade, X-Two\r\n" in heads[0]


@pytest.mark.parametrize(
    ("length", "head"), [(5, b"\x82\x85"), (300, b"\x82\xfe\x01\x2c"), (1 << 20, b"\x82\xff" + (1 << 20).to_bytes(8, "big"))]
)
def test_a_frame_may_promise_more_than_it_has(length: int, head: bytes) -> None:
    seen: list[bytes] = []

    def speak(connection: socket.socket) -> None:
        data = b""
        while more := connection.recv(4096):
            data += more
        seen.append(data)

    with peer(speak) as url, RawConnection(parse(url)) as raw:
        raw.send_frame(2, b"x", length)
    assert seen == [head + bytes(4) + b"x"]


def test_silence_is_a_timeout_and_an_end_is_none() -> None:
    over = threading.Event()
    with peer(lambda connection: (over.wait(30), None)[1]) as url, RawConnection(parse(url)) as raw:
        with pytest.raises(TimeoutError):
            raw.frame(0.01)
        over.set()
        assert raw.frame(30) is None


def test_a_frame_that_is_too_long_ends_the_connection() -> None:
    with peer(lambda connection: connection.sendall(b"\x82\x7f" + (1 << 40).to_bytes(8, "big"))) as url, RawConnection(parse(url)) as raw:
        assert raw.frame(30) is None


def test_no_answer_and_no_server() -> None:
    with peer(lambda connection: (read_head(connection), None)[1]) as url, RawConnection(parse(url)) as raw:
        assert raw.request().status == 0
    with pytest.raises(CommandFailed) as failed:
        RawConnection(parse(url))
    assert failed.value.exit_code == Exit.UNREACHABLE
