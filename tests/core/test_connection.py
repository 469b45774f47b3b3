"""core/connection.py: what an app sees of a connection. Sending, closing and waiting with a real wire are in tests/wire/."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.fakes import LOCAL, PEER, Loop
from wsdaemon.core.closing import ConnectionClosed
from wsdaemon.core.connection import READY, Connection
from wsdaemon.core.handshake import Handshake, Headers


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


class Wire:
    """What a connection needs of the wire, and nothing else: the core knows no Autobahn."""

    def __init__(self) -> None:
        self.writer = self
        self.live = True
        self.congested = False
        self.messages_in = self.messages_out = self.bytes_in = self.bytes_out = 0
        self.sent: list[tuple[bytes, bool]] = []
        self.closes: list[tuple[int, str]] = []
        self.aborted = False
        self.connection: Connection | None = None

    def send_payload(self, payload: bytes, text: bool) -> Any:
        if not self.live:
            assert self.connection is not None
            raise self.connection._closed_error()
        self.sent.append((payload, text))
        return None

    def close(self, code: int, reason: str) -> None:
        self.closes.append((code, reason))

    def abort(self) -> None:
        self.aborted = True

    def unsent(self) -> int:
        return 0


def connect(**handshake: Any) -> tuple[Connection, Any]:
    headers = Headers([(b"X-One", b"1"), (b"x-one", b"2"), (b"Cookie", b"a=b; c=d")])
    values: dict[str, Any] = {
        "target": "/rooms/red?x=1&x=&y=%20", "path": "/rooms/red", "raw_path": b"/rooms/red", "query_string": b"x=1&x=&y=%20",
        "headers": headers, "params": {"room": "red"}, "peer": PEER, "local": LOCAL, "secure": True, "subprotocol": "chat",
    }  # fmt: skip
    wire: Any = Wire()
    wire.connection = Connection(wire, Handshake(**(values | handshake)), "ab12-7")
    return wire.connection, wire


def test_what_came_in_the_request() -> None:
    connection, _ = connect()
    assert connection.id == "ab12-7"
    assert connection.path == "/rooms/red"
    assert connection.params == {"room": "red"}
    assert connection.query == {"x": ["1", ""], "y": [" "]}
    assert connection.headers["X-ONE"] == "1"
    assert connection.headers.get_all("x-one") == ["1", "2"]
    assert connection.cookies == {"a": "b", "c": "d"}
    assert str(connection.peer) == "192.0.2.7:50123"
    assert connection.secure
    assert connection.subprotocol == "chat"
    assert repr(connection) == "<connection ab12-7 192.0.2.7:50123 /rooms/red>"


def test_a_state_of_the_apps_own() -> None:
    connection, other = connect()[0], connect()[0]
    connection.state["user"] = "ann"
    assert connection.state == {"user": "ann"}
    assert other.state == {}


def test_text_and_binary() -> None:
    connection, wire = connect()
    for message in ("ä", b"1", bytearray(b"2"), memoryview(b"3")):
        assert connection.send(message) is READY
    assert connection.send_payload(b"4", True) is READY
    assert wire.sent == [("ä".encode(), True), (b"1", False), (b"2", False), (b"3", False), (b"4", True)]
    assert all(type(payload) is bytes for payload, _ in wire.sent)


@pytest.mark.parametrize("message", [None, 1, ["x"], {}])
def test_what_is_not_a_message(message: Any) -> None:
    with pytest.raises(TypeError, match=r"a message is str \(text\) or bytes \(binary\), not "):
        connect()[0].send(message)


def test_after_the_end() -> None:
    connection, wire = connect()
    wire.live = False
    assert not connection.is_open
    connection._ended(4001, "why", "client")
    with pytest.raises(ConnectionClosed) as raised:
        connection.send("x")
    assert (raised.value.code, raised.value.reason) == (4001, "why")
    assert connection.closed_by == "client"


def test_ready_can_be_awaited_again_and_again(loop: Loop) -> None:
    async def wait() -> str:
        await READY
        await READY
        return "done"

    task = loop.create_task(wait())
    loop.settle()
    assert task.result() == "done"


def test_waiting_for_room_costs_nothing_until_it_is_awaited(loop: Loop) -> None:
    connection, wire = connect()
    assert connection.writable() is READY
    wire.congested = True
    assert connection.writable() is not READY
    assert connection._waiters is None


def test_who_waits_looks_again_when_woken(loop: Loop) -> None:
    """Another waiter may have filled the room that was made."""
    connection, wire = connect()
    wire.congested = True

    async def wait() -> None:
        await connection.writable()

    task = loop.create_task(wait())
    loop.settle()
    connection._wake_waiters()
    loop.settle()
    assert not task.done()
    wire.congested = False
    connection._wake_waiters()
    loop.settle()
    assert task.done()


def test_closing(loop: Loop) -> None:
    connection, wire = connect()

    async def close() -> None:
        await connection.close(1001, "bye")

    task, cancelled = loop.create_task(close()), loop.create_task(close())
    loop.settle()
    assert wire.closes == [(1001, "bye")] * 2
    cancelled.cancel()
    loop.settle()
    assert not task.done()
    connection._ended(1001, "bye", "server")
    loop.settle()
    assert task.done()
    assert cancelled.cancelled()
    again = asyncio.ensure_future(close())
    loop.settle()
    assert again.done()


def test_closing_with_a_code_that_may_not_be_sent() -> None:
    connection, wire = connect()
    with pytest.raises(ValueError, match="close code 1005"):
        connection.close(1005)
    assert wire.closes == []


def test_closing_without_waiting() -> None:
    connection, wire = connect()
    connection.close()
    connection.abort()
    assert wire.closes == [(1000, "")]
    assert wire.aborted


def test_the_end_wakes_everybody(loop: Loop) -> None:
    connection, wire = connect()
    wire.congested = True

    async def wait() -> str:
        await connection.writable()
        return "woken"

    tasks = [loop.create_task(wait()) for _ in range(3)]
    loop.settle()
    tasks[0].cancel()
    wire.live = False
    connection._ended(1006, "", "network")
    loop.settle()
    assert tasks[0].cancelled()
    assert [task.result() for task in tasks[1:]] == ["woken"] * 2
