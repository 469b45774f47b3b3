"""wire/wire.py: how connections end. Close codes, both closing handshakes, clients that vanish, and what is told to whom."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import READERS, App, Client, Frame, House, binary, close, closing, frame, house, text
from wsdaemon.core.closing import ConnectionClosed
from wsdaemon.core.connection import Connection
from wsdaemon.core.typed_messages import from_json

pytestmark = pytest.mark.readers()


def ends_with(client: Client, code: int, reason: str = "") -> None:
    """The server's Close frame, answered; what app, watcher and counts then know."""
    frames = client.frames()
    assert [(last.opcode, last.code) for last in frames[-1:]] == [(8, code)]
    if reason:
        assert frames[-1].reason == reason
    client.answer_close()
    assert client.transport.lost
    assert (client.ended[0], client.ended[2]) == (code, "server")
    assert client.watcher.closed_ones == [client.connection]
    assert client.count.now == 0
    assert len(client.wheel) == 0


# -- the app's doing


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 1013, 3000, 4999])
def test_the_app_closes(made: House, code: int) -> None:
    """Autobahn's own sendClose() refuses 1001, 1011 and 1012."""
    app = App()
    client = made.make_wire(app)
    app.connection.close(code, "grün")
    assert not app.connection.is_open
    assert client.frames() == [closing(code, "grün")]
    client.answer_close()
    assert app.ends == [(code, "grün")]
    assert client.ended == (code, "grün", "server")


def test_a_code_that_may_not_be_sent(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    with pytest.raises(ValueError, match="close code 1006"):
        app.connection.close(1006)
    assert app.connection.is_open
    assert client.sent == b""


def test_closing_twice_sends_one_close_frame(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    app.connection.close(4000)
    app.connection.close(4001)
    assert client.frames() == [closing(4000)]
    client.answer_close()
    app.connection.close(4002)
    app.connection.abort()
    assert app.ends == [(4000, "")]


def test_close_can_be_awaited(made: House) -> None:
    app = App()
    client = made.make_wire(app)

    async def ends() -> str:
        await app.connection.close(1000)
        await app.connection.close(1000)
        return "ended"

    task = made.loop.create_task(ends())
    made.loop.settle()
    assert not task.done()
    client.answer_close()
    assert task.result() == "ended"


def test_what_was_sent_before_a_close_is_sent(made: House) -> None:
    app = App(lambda connection, message: None)
    client = made.make_wire(app)
    app.connection.send("last words")
    app.connection.close(1000)
    assert client.frames() == [Frame(1, b"last words"), closing(1000)]


def test_messages_after_our_close_frame_are_dropped(made: House) -> None:
    app = App(lambda connection, message: connection.close(4000) and None)
    client = made.make_wire(app)
    client.send(text("1"), text("2"), frame(1, b"3", fin=False), frame(0, b"4"))
    client.send(text("5"), frame(9, b"6"), text("7"))
    assert app.messages == ["1"]
    assert client.frames() == [closing(4000)]
    client.send(text("8"), close(4000), text("9"))
    made.loop.settle()
    assert app.messages == ["1"]
    assert app.ends == [(4000, "")]


def test_nothing_is_sent_after_a_close(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    app.connection.close(4000)
    client.frames()
    with pytest.raises(ConnectionClosed) as closing_now:
        app.connection.send("late")
    assert closing_now.value.code == 1006, "it is not known yet how it ends"
    client.answer_close()
    with pytest.raises(ConnectionClosed) as over:
        app.connection.send_payload(b"late", True)
    assert over.value.code == 4000
    assert client.sent == b""


def test_an_exception_in_received_gives_1011_and_is_told(made: House) -> None:
    def received(connection: Connection, message: object) -> None:
        raise RuntimeError("mine")

    app = App(received)
    client = made.make_wire(app)
    client.send(text("1"), text("2"))
    assert app.messages == ["1"]
    assert [(doing, str(error)) for doing, error in client.watcher.failures] == [("receiving a message", "mine")]
    ends_with(client, 1011, "internal error")
    assert app.ends == [(1011, "internal error")]


def test_a_bad_message_in_received_gives_1007_and_is_no_failure_of_the_app(made: House) -> None:
    def received(connection: Connection, message: str) -> None:
        from_json(message)

    app = App(received)
    client = made.make_wire(app)
    client.send(text("{"), text("2"))
    assert app.messages == ["{"]
    assert client.watcher.failures == []
    ends_with(client, 1007, "bad message")


def test_sending_on_a_connection_that_is_closing_is_no_failure_of_the_app(made: House) -> None:
    def received(connection: Connection, message: object) -> None:
        connection.close(4000)
        connection.send("late")

    client = made.make_wire(App(received))
    client.send(text("1"))
    assert client.watcher.failures == []
    ends_with(client, 4000)


def test_an_exception_in_open_gives_1011_and_no_session_is_told_of_the_end(made: House) -> None:
    class Failing(App):
        def open(self, connection: Connection, handshake: Any) -> Any:
            super().open(connection, handshake)
            raise RuntimeError("mine")

    app = Failing()
    client = made.make_wire(app)
    assert client.head.startswith("HTTP/1.1 101 ")
    client.send(text("x"))
    assert [(doing, str(error)) for doing, error in client.watcher.failures] == [("opening", "mine")]
    ends_with(client, 1011, "internal error")
    assert (app.messages, app.ends) == ([], [])


def test_an_exception_in_closed_is_told_and_the_place_is_left(made: House) -> None:
    """A count that leaks when the app's own closing code fails would lock clients out for ever."""

    class Failing(App):
        def end(self, code: int, reason: str) -> None:
            super().end(code, reason)
            raise RuntimeError("mine")

    app = Failing()
    client = made.make_wire(app)
    client.vanish()
    assert client.count.now == 0
    assert [(doing, str(error)) for doing, error in client.watcher.failures] == [("closing", "mine")]
    assert app.ends == [(1006, "connection lost without a Close frame")]


def test_bytes_in_and_out_are_those_of_frames_and_leave_the_opening_handshake_out(made: House) -> None:
    counted: list[int] = []

    class Greeting(App):
        def open(self, connection: Connection, handshake: Any) -> Any:
            connection.send("hello")
            counted.append(client_counts(connection))
            return super().open(connection, handshake)

    def client_counts(connection: Any) -> int:
        out: int = connection.counts().bytes_out
        return out

    client = made.make_wire(Greeting())
    assert counted == [0], "the answer and the greeting leave in one write, later"
    assert client.wire.counts().bytes_out == 2 + len("hello")
    client.send(text("x"))
    assert (client.wire.counts().bytes_in, client.wire.counts().bytes_out) == (len(text("x")), 2 + len("hello"))


def test_an_app_that_closes_while_it_opens(made: House) -> None:
    class Refusing(App):
        def open(self, connection: Connection, handshake: Any) -> Any:
            connection.close(4003, "not you")
            return super().open(connection, handshake)

    app = Refusing()
    client = made.make_wire(app)
    client.send(text("x"))
    ends_with(client, 4003, "not you")
    assert (app.messages, app.ends) == ([], [(4003, "not you")])


def test_an_abort(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    app.connection.send("never seen")
    app.connection.abort()
    assert client.transport.aborted
    assert not app.connection.is_open
    assert app.ends == []
    made.loop.settle()
    assert client.sent == b""
    assert app.ends == [(1006, "")]
    assert client.ended == (1006, "", "server")


# -- the client's doing


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going"), (3000, "grün"), (4999, "x" * 123), (1013, "")])
def test_a_close_frame_is_answered_with_its_code_and_reason(made: House, code: int, reason: str) -> None:
    app = App()
    client = made.make_wire(app)
    client.send(text("1"), close(code, reason))
    assert client.frames() == [closing(code, reason)]
    assert client.transport.closing
    made.loop.settle()
    assert app.events == ["1", code]
    assert client.ended == (code, reason, "client")
    assert client.count.now == 0


def test_a_close_frame_without_a_code(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    client.send(close(None), text("after"))
    assert client.frames() == [Frame(8, b"")]
    made.loop.settle()
    assert app.events == [1005]
    assert client.ended == (1005, "", "client")


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_close_codes_that_are_never_sent(made: House, code: int) -> None:
    client = made.make_wire(App())
    client.send(close(code))
    assert client.frames()[0].code == 1002
    made.loop.settle()
    assert client.transport.lost
    assert client.ended[0] == 1002


def test_a_close_frame_with_half_a_code(made: House) -> None:
    client = made.make_wire(App())
    client.send(frame(8, b"\x03"))
    assert client.frames()[0].code == 1002


def test_a_close_reason_that_is_not_utf8(made: House) -> None:
    client = made.make_wire(App())
    client.send(frame(8, struct.pack("!H", 1000) + b"\xff"))
    assert client.frames()[0].code == 1007
    made.loop.settle()
    assert client.transport.lost


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_a_client_that_vanishes(made: House, error: Exception | None) -> None:
    app = App()
    client = made.make_wire(app)
    client.send(text("1"), frame(1, b"half", fin=False))
    client.vanish(error)
    assert app.events == ["1", 1006]
    assert client.ended == (1006, "connection lost without a Close frame", "network")
    assert client.count.now == 0
    assert len(client.wheel) == 0
    assert app.connection._closed_error().code == 1006


def test_a_client_that_does_not_answer_our_close_is_dropped(made: House) -> None:
    app = App()
    client = made.make_wire(app, close_timeout=5.0)
    app.connection.close(1001, "bye")
    made.loop.advance(4.9)
    assert not client.transport.closing
    client.send(text("still talking"), frame(9))
    made.loop.advance(0.2)
    assert client.transport.aborted
    assert client.ended == (1001, "bye", "server")
    assert app.ends == [(1001, "bye")]


def test_a_client_that_vanishes_instead_of_answering_our_close(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    app.connection.close(1001, "bye")
    client.vanish()
    assert client.ended == (1001, "no closing handshake", "server")


def test_a_client_that_does_not_take_our_last_frames_is_dropped(made: House) -> None:
    app = App()
    client = made.make_wire(app, close_timeout=5.0)
    client.transport.stuck = True
    client.send(text("x"), close(1000))
    assert client.transport.closing
    made.loop.settle()
    assert app.ends == []
    made.loop.advance(5.1)
    assert client.transport.aborted
    assert client.ended == (1000, "", "client")


def test_both_close_at_the_same_time(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    app.connection.close(1001)
    client.send(close(3000, "me first"))
    made.loop.settle()
    assert client.frames() == [closing(1001)]
    assert app.ends == [(1001, "")]


# -- whatever happens

FROM_CLIENT = ["text", "bad", "half", "rest", "close", "vanish", "stuck", "drain"]
FROM_US = ["our close", "abort", "wait", "resume", "fail", "time", "turn"]
EVENTS = st.lists(st.sampled_from(FROM_CLIENT + FROM_US), max_size=12)


def run(client: Client, app: App, waiting: list[Any], event: str) -> None:
    loop, transport = client.loop, client.transport
    match event:
        case "text" | "bad" | "half" | "rest" | "close" if not transport.closing:
            half = binary(b"z" * 100_000)[:90_000]
            client.send({"text": text("t"), "bad": frame(3), "half": half, "rest": bytes(20_000), "close": close(1000)}[event])
        case "our close":
            app.connection.close(4000)
        case "abort":
            app.connection.abort()
        case "vanish":
            client.vanish()
        case "wait":
            waiting.append(None)
        case "resume" if waiting and waiting[-1] is not None and not waiting[-1].done():
            waiting[-1].set_result(None)
        case "fail" if waiting and waiting[-1] is not None and not waiting[-1].done():
            waiting[-1].set_exception(RuntimeError("mine"))
        case "time":
            loop.advance(30)
        case "stuck":
            transport.stuck = True
        case "drain":
            transport.drain()
        case "turn":
            loop.settle()


@given(st.sampled_from(list(READERS)), EVENTS)
def test_whatever_happens_the_end_is_told_once_and_last_and_the_place_is_left_once(reader: str, events: list[str]) -> None:
    with house(reader) as made:
        waiting: list[Any] = []

        def received(connection: Connection, message: object) -> Any:
            if waiting and waiting[-1] is None:
                waiting[-1] = made.loop.create_future()
                return waiting[-1]
            return None

        app = App(received)
        client = made.make_wire(app, close_timeout=5.0)
        for event in events:
            run(client, app, waiting, event)
        client.vanish()
        for future in waiting:
            if future is not None and not future.done():
                assert app.ends == []
                future.set_result(None)
        made.loop.advance(100)
        assert len(app.ends) == 1
        assert app.events[-1] == app.ends[0][0]
        assert client.watcher.closed_ones == client.watcher.opened_ones
        assert (client.count.now, client.count.total) == (0, 1)
        assert len(client.wheel) == 0
        assert made.loop.timers == 0
