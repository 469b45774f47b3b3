"""core/blocking.py: a connection whose calls block a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.fakes import Frame, House, binary, close, closing, text
from tests.support.functions import SECONDS, FunctionRun
from wsdaemon.core.blocking import BlockingConnection
from wsdaemon.core.closing import ConnectionClosed
from wsdaemon.core.contract import READ_AHEAD, READ_AHEAD_BYTES
from wsdaemon.core.typed_messages import BadMessage


def test_messages_in_both_directions(made: House) -> None:
    def echo(connection: BlockingConnection) -> None:
        for message in connection:
            connection.send(message)

    run = FunctionRun(made, echo)
    run.client.send(text("grün"), binary(b"b"))
    run.until(lambda: run.client.wire.connection.counts().messages_out == 2)
    assert run.client.frames() == [Frame(1, "grün".encode()), Frame(2, b"b")]
    run.client.vanish()
    run.until_ended()
    assert run.failures == []


def test_json(made: House) -> None:
    seen: list[object] = []

    def app(connection: BlockingConnection) -> None:
        try:
            connection.receive_json()
        except BadMessage as error:
            seen.append(type(error))
        connection.send_json([connection.receive_json()])

    run = FunctionRun(made, app)
    run.client.send(text("no JSON"), text('{"a": 1}'))
    run.until_ended()
    assert seen == [BadMessage]
    assert run.client.frames() == [Frame(1, b'[{"a":1}]'), closing(1000)]


def test_a_broadcast_from_the_function_s_thread(made: House) -> None:
    run = FunctionRun(made, lambda connection: connection.broadcast("news", where=connection.handshake.mount))
    run.until_ended()
    assert made.broadcasts == [("news", run.client.handshake.mount)]


@pytest.mark.parametrize("ending", ["client", "server", "network"])
@pytest.mark.parametrize("waiting", [True, False], ids=["while it waits", "before"])
def test_what_receive_and_send_raise_says_how_it_ended(made: House, ending: str, waiting: bool) -> None:
    seen: list[ConnectionClosed] = []
    go_on = threading.Event()

    def app(connection: BlockingConnection) -> None:
        go_on.wait(SECONDS)
        operations: list[Callable[[], object]] = [connection.receive, lambda: connection.send("x")]
        for operation in operations:
            try:
                operation()
            except ConnectionClosed as error:
                seen.append(error)
        connection.close()  # does nothing
        connection.abort()
        connection.wait_closed()

    run = FunctionRun(made, app)
    if waiting:
        go_on.set()
    if ending == "client":
        run.client.send(close(3000, "bye"))
    elif ending == "server":
        run.client.wire.close(3000, "bye")
        run.client.answer_close()
    else:
        run.client.vanish()
    made.loop.settle()
    go_on.set()
    run.until_ended()
    assert [error.code for error in seen] == [1006 if ending == "network" else 3000] * 2
    assert ending == "network" or [error.reason for error in seen] == ["bye"] * 2
    assert run.failures == []


def test_messages_that_waited_are_still_received_after_the_close(made: House) -> None:
    seen: list[object] = []
    go_on = threading.Event()

    def app(connection: BlockingConnection) -> None:
        go_on.wait(SECONDS)
        seen.extend([connection.is_open, *connection, connection.close_code, connection.closed_by])

    run = FunctionRun(made, app)
    run.client.send(text("1"), text("2"), close(1000))
    made.loop.settle()
    go_on.set()
    run.until_ended()
    assert seen == [False, "1", "2", 1000, "client"]


@pytest.mark.parametrize(
    ("message", "most"), [(text("x"), READ_AHEAD), (binary(bytes(100_000)), -(-READ_AHEAD_BYTES // 100_000))], ids=["number", "bytes"]
)
def test_the_read_ahead_is_bounded(made: House, message: bytes, most: int) -> None:
    """A function that does not receive makes its own client wait, and holds no more than this for it."""
    go_on = threading.Event()
    seen: list[object] = []

    def app(connection: BlockingConnection) -> None:
        go_on.wait(SECONDS)
        seen.extend(connection)

    run = FunctionRun(made, app, ping_interval=0.0)
    for _ in range(40):
        run.client.send(message)
    made.loop.settle()
    assert not run.client.transport.reading
    assert run.client.reader.messages_in == most
    go_on.set()
    run.until(lambda: run.client.reader.messages_in == 40)
    run.until(lambda: run.client.transport.reading)
    run.client.vanish()
    run.until_ended()
    assert len(seen) == 40


def test_a_client_that_vanishes_while_the_read_ahead_is_full(made: House) -> None:
    go_on = threading.Event()
    seen: list[object] = []

    def app(connection: BlockingConnection) -> None:
        go_on.wait(SECONDS)
        seen.extend([*connection, connection.close_code])

    run = FunctionRun(made, app)
    run.client.send(*[text("x")] * READ_AHEAD)
    run.client.vanish()
    made.loop.settle()
    go_on.set()
    run.until_ended()
    assert seen == ["x"] * READ_AHEAD + [1006]
    assert len(made.background) == 0


@pytest.mark.parametrize("end", ["reads", "vanishes"])
def test_send_waits_for_a_slow_client(made: House, end: str) -> None:
    sent: list[int] = []
    over: list[int] = []

    def app(connection: BlockingConnection) -> None:
        try:
            for number in range(20):
                connection.send(bytes(100_000))
                sent.append(number)
        except ConnectionClosed as closed:
            over.append(closed.code)

    run = FunctionRun(made, app, compression=False)
    run.client.transport.stuck = True
    run.until(lambda: run.client.wire.connection._waiters)
    assert len(sent) <= 2
    assert run.client.wire.connection.unsent() <= 300_000
    if end == "vanishes":
        run.client.vanish()
        run.until_ended()
        assert over == [1006] and len(sent) <= 4
        return
    run.client.transport.drain()
    run.until_ended()
    assert sent == list(range(20)) and over == []


def test_close_waits_until_the_connection_is_over(made: House) -> None:
    seen: list[object] = []

    def app(connection: BlockingConnection) -> None:
        with pytest.raises(ValueError, match="close code 1005"):
            connection.close(1005)
        connection.send("last")
        connection.close(4000, "enough")
        seen.append((connection.close_code, connection.close_reason, connection.closed_by))

    run = FunctionRun(made, app)
    run.until(lambda: not run.client.wire.connection.is_open)
    assert run.client.frames() == [Frame(1, b"last"), closing(4000, "enough")]
    assert seen == []
    run.client.answer_close()
    run.until_ended()
    assert seen == [(4000, "enough", "server")]


def test_abort_drops_the_connection(made: House) -> None:
    seen: list[object] = []

    def app(connection: BlockingConnection) -> None:
        connection.abort()
        connection.wait_closed()
        seen.append(connection.close_code)

    run = FunctionRun(made, app)
    run.until_ended()
    assert run.client.frames() == [] and seen == [1006]


def test_timeouts(made: House) -> None:
    seen: list[object] = []

    def app(connection: BlockingConnection) -> None:
        with pytest.raises(TimeoutError, match=r"no message came within 0\.001 s"):
            connection.receive(timeout=0.001)
        with pytest.raises(TimeoutError, match=r"not over after 0\.001 s"):
            connection.wait_closed(0.001)
        connection.send("go on")
        seen.append(connection.receive(timeout=SECONDS))

    run = FunctionRun(made, app)
    run.until(lambda: run.client.wire.connection.counts().messages_out == 1)
    assert run.client.frames() == [Frame(1, b"go on")]
    run.client.send(text("now"))
    run.until_ended()
    assert seen == ["now"] and run.failures == []


def test_the_request_and_the_state(made: House) -> None:
    seen: list[Any] = []

    def app(connection: BlockingConnection) -> None:
        connection.state["name"] = "Ada"
        seen.append(connection)

    run = FunctionRun(made, app)
    run.until_ended()
    loop_side, connection = run.client.wire.connection, seen[0]
    assert loop_side.state == {"name": "Ada"}
    names = ("handshake", "id", "path", "params", "query", "headers", "cookies", "peer", "secure", "subprotocol", "identity")
    life = ("is_open", "opened_at", "close_code", "close_reason", "closed_by", "loop")
    assert [getattr(connection, name) for name in names + life] == [getattr(loop_side, name) for name in names + life]
    assert connection.counts() == loop_side.counts()
    assert repr(connection) == repr(loop_side)


def test_the_loop_is_never_blocked(made: House) -> None:
    connections: list[BlockingConnection] = []
    run = FunctionRun(made, connections.append)
    run.until_ended()
    connection = connections[0]
    for call in (connection.receive, connection.wait_closed, connection.close, lambda: connection.send("x")):
        with pytest.raises(RuntimeError, match="would block the daemon's loop"):
            call()


def test_a_loop_that_has_ended() -> None:
    """The function runs on after the daemon: nothing waits for ever."""
    loop = asyncio.new_event_loop()
    side: Any = type("Side", (), {"loop": loop, "state": {}, "send_payload": print, "_closed_error": lambda self: ConnectionClosed(1006)})()
    connection = BlockingConnection(side)
    loop.close()
    errors: list[Exception] = []

    def send() -> None:
        try:
            connection.send("x")
        except ConnectionClosed as error:
            errors.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    thread.join(SECONDS)
    assert [type(error) for error in errors] == [ConnectionClosed]
