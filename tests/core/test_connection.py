"""core/connection.py: what an app sees of a connection. Sending, closing and waiting with a real wire are in tests/wire/."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.fakes import LOCAL, PEER, Loop
from wsdaemon.core.closing import ConnectionClosed
from wsdaemon.core.connection import READY, Connection
from wsdaemon.core.handshake import Handshake, Headers
from wsdaemon.core.threads import SendQueueFull, ThreadCalls


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as loop:
        yield loop


class Wire:
    """The part of the wire that a connection needs, and no more: the core knows no Autobahn."""

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


def test_a_broadcast_is_the_daemon_s_and_works_after_the_end_too() -> None:
    connection, wire = connect()
    sent: list[tuple[object, object]] = []
    wire.broadcast = lambda message, where: sent.append((message, where))
    connection.broadcast("to all")
    wire.live = False
    connection._ended(1000, "", "client")
    connection.broadcast(b"to some", where="/chat")
    assert sent == [("to all", None), (b"to some", "/chat")]


# -- other threads


class Threaded:
    """A connection, and calls on it from another thread."""

    def __init__(self, loop: Loop) -> None:
        self.connection, self.wire = connect()
        self.wire.calls = ThreadCalls(loop, max_calls=3, max_bytes=100)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The result of the function in another thread; its exception is raised here."""
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(function, *arguments).result()


def test_messages_from_another_thread_wait_for_the_loop_and_keep_their_order(loop: Loop) -> None:
    threaded = Threaded(loop)
    assert threaded.call(threaded.connection.send, "a") is READY
    threaded.call(threaded.connection.send_payload, b"b", True)
    threaded.call(threaded.connection.close, 4000, "bye")
    assert threaded.wire.sent == [] and threaded.wire.closes == []
    loop.settle()
    assert threaded.wire.sent == [(b"a", True), (b"b", True)]
    assert threaded.wire.closes == [(4000, "bye")]
    threaded.call(threaded.connection.abort)
    loop.settle()
    assert threaded.wire.aborted


def test_a_message_from_another_thread_is_what_it_was_when_it_was_sent(loop: Loop) -> None:
    threaded, message = Threaded(loop), bytearray(b"before")
    threaded.call(threaded.connection.send, message)
    message[:] = b"after!"
    loop.settle()
    assert threaded.wire.sent == [(b"before", False)]


def test_the_thread_is_told_of_a_mistake(loop: Loop) -> None:
    threaded = Threaded(loop)
    with pytest.raises(TypeError, match="a message is str"):
        threaded.call(threaded.connection.send, 5)
    with pytest.raises(ValueError, match="close code 1006"):
        threaded.call(threaded.connection.close, 1006)
    threaded.wire.live = False
    threaded.connection._ended(4001, "why", "client")
    with pytest.raises(ConnectionClosed):
        threaded.call(threaded.connection.send, "x")


def test_a_connection_that_ends_while_a_message_waits(loop: Loop) -> None:
    threaded = Threaded(loop)
    threaded.call(threaded.connection.send, "x")
    threaded.wire.live = False
    loop.settle()
    assert threaded.wire.sent == [] and loop.problems == []


def test_a_thread_that_sends_too_much_is_told(loop: Loop) -> None:
    threaded = Threaded(loop)
    threaded.call(threaded.connection.send, bytes(60))
    with pytest.raises(SendQueueFull):
        threaded.call(threaded.connection.send, bytes(60))
    for _ in range(2):
        threaded.call(threaded.connection.send, b"")
    with pytest.raises(SendQueueFull):
        threaded.call(threaded.connection.close)
    loop.settle()
    assert len(threaded.wire.sent) == 3


def test_what_does_not_work_in_another_thread_says_how_to_do_it(loop: Loop) -> None:
    threaded = Threaded(loop)
    connection = threaded.connection

    def wait_here(coroutine: Coroutine[Any, Any, None]) -> None:
        coroutine.send(None)

    threaded.wire.congested = True
    closing = threaded.call(connection.close)
    for function, arguments in (
        (lambda: connection.state, ()), (connection.writable, ()), (wait_here, (connection.wait_closed(),)),
        (closing.__await__().send, (None,)),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match=r"asyncio\.run_coroutine_threadsafe\(coroutine, connection\.loop\)"):
            threaded.call(function, *arguments)
    assert connection.loop is loop


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


def test_waiting_for_the_end(loop: Loop) -> None:
    connection, _ = connect()
    waiting = loop.create_task(connection.wait_closed())
    loop.settle()
    assert not waiting.done()
    connection._ended(1001, "", "client")
    loop.settle()
    assert waiting.done()
    again = loop.create_task(connection.wait_closed())
    loop.settle()
    assert again.done()


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
