"""wire/input.py and wire/protocol.py: an app that wants to wait, and a client that does not read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from tests.support.fakes import READERS, App, Client, Frame, House, binary, close, closing, frame, house, text
from wsdaemon.core.connection import READY, Connection
from wsdaemon.core.typed_messages import BadMessage

pytestmark = pytest.mark.readers()


class Slow(App):
    """Wants to wait after each message until the test lets it go on."""

    def __init__(self, wait: Callable[[], Any] | None = None) -> None:
        super().__init__(lambda connection, message: self._wait())
        self.waiting: list[Any] = []
        self._make = wait or (lambda: asyncio.get_running_loop().create_future())

    def _wait(self) -> Any:
        self.waiting.append(self._make())
        return self.waiting[-1]

    def go_on(self, client: Client) -> None:
        self.waiting.pop(0).set_result(None)
        client.loop.settle()


# -- the rule: what received() returns is waited for


def test_received_pauses_reading_and_keeps_order(made: House) -> None:
    app = Slow()
    client = made.make_wire(app)
    client.send(text("1"), text("2"), binary(b"3"))
    assert app.messages == ["1"]
    assert not client.transport.reading
    client.send(text("4"))
    for number, message in enumerate(["1", "2", b"3", "4"], 1):
        assert app.messages[-1] == message
        assert len(app.messages) == number
        app.go_on(client)
    assert client.transport.reading
    client.send(text("5"))
    assert app.messages[-1] == "5"
    app.go_on(client)


def test_pausing_stops_frames_already_buffered(made: House) -> None:
    """Pausing the transport alone would let every frame of the same read through."""
    app = Slow()
    client = made.make_wire(app)
    client.send(*[text(str(number)) for number in range(500)])
    made.loop.settle()
    assert app.messages == ["0"]
    for _ in range(500):
        app.go_on(client)
    assert app.messages == [str(number) for number in range(500)]
    assert client.transport.reading


def test_what_was_held_is_looked_at_anew_but_not_copied_anew(made: House) -> None:
    """Half of a frame, fragments and control frames that wait behind a slow app come out in order."""
    app = Slow()
    client = made.make_wire(app)
    stream = [frame(1, b"a", fin=False), frame(9, b"p"), frame(0, b"b"), text("c"), frame(9, b"q"), binary(b"d" * 300)]
    client.send(text("0"), *stream, text("half")[:7])
    assert app.messages == ["0"]
    assert client.frames() == []
    app.go_on(client)
    assert app.messages == ["0", "ab"]
    assert client.frames() == [Frame(10, b"p")]
    app.go_on(client)
    assert app.messages == ["0", "ab", "c"]
    app.go_on(client)
    assert app.messages[-1] == b"d" * 300
    assert client.frames() == [Frame(10, b"q")]
    app.go_on(client)
    assert client.transport.reading
    client.send(text("half")[7:])
    assert app.messages[4:] == ["half"]
    app.go_on(client)


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_frame_in_pieces_after_a_pause(made: House, size: int) -> None:
    app = Slow()
    client = made.make_wire(app)
    data = binary(b"x" * size)
    client.send(text("0") + data[:50])
    client.send(data[50:])
    app.go_on(client)
    assert app.messages == ["0", b"x" * size]
    app.go_on(client)


def test_an_awaitable_that_is_done_already(made: House) -> None:
    async def nothing() -> None:
        """It has nothing to wait for."""

    app = App(lambda connection, message: nothing())
    client = made.make_wire(app)
    client.send(text("1"), text("2"))
    made.loop.settle()
    assert app.messages == ["1", "2"]
    assert client.transport.reading


def test_ready_is_nothing_to_wait_for(made: House) -> None:
    client = made.make_wire(App(lambda connection, message: READY))
    client.send(text("1"), text("2"))
    assert client.reader.messages_in == 2
    assert client.transport.pauses == 0
    assert repr(READY) == "<ready>"


def test_a_deferred_is_waited_for(made: House) -> None:
    app = Slow(wait=Deferred)
    client = made.make_wire(app)
    client.send(text("1"), text("2"))
    assert app.messages == ["1"]
    app.waiting[0].callback(None)
    made.loop.settle()
    assert app.messages == ["1", "2"]
    app.waiting[1].errback(RuntimeError("mine"))
    made.loop.settle()
    assert client.frames()[-1] == closing(1011, "internal error")


def test_a_bad_message_in_what_was_waited_for_gives_1007_and_is_no_failure_of_the_app(made: House) -> None:
    app = Slow()
    client = made.make_wire(app)
    client.send(text("1"), text("2"))
    app.waiting[0].set_exception(BadMessage("no JSON"))
    made.loop.settle()
    assert client.watcher.failures == []
    assert client.frames() == [closing(1007, "bad message")]
    assert app.messages == ["1"]
    client.answer_close()
    assert app.ends == [(1007, "bad message")]


def test_an_exception_in_what_was_waited_for_gives_1011(made: House) -> None:
    app = Slow()
    client = made.make_wire(app)
    client.send(text("1"), text("2"))
    app.waiting[0].set_exception(RuntimeError("mine"))
    made.loop.settle()
    assert [(doing, str(error)) for doing, error in client.watcher.failures] == [("receiving a message", "mine")]
    assert client.frames() == [closing(1011, "internal error")]
    assert app.messages == ["1"]
    client.answer_close()
    assert app.ends == [(1011, "internal error")]


def test_a_connection_closed_in_what_was_waited_for_is_no_failure(made: House) -> None:
    async def late(connection: Connection) -> None:
        await asyncio.sleep(1)
        connection.send("late")

    app = App(lambda connection, message: late(connection))
    client = made.make_wire(app)
    client.send(text("1"))
    client.vanish()
    made.loop.advance(2)
    assert client.watcher.failures == []
    assert app.ends == [(1006, "connection lost without a Close frame")]


def test_a_cancelled_wait_goes_on(made: House) -> None:
    app = Slow()
    client = made.make_wire(app)
    client.send(text("1"), text("2"))
    app.waiting[0].cancel()
    made.loop.settle()
    assert app.messages == ["1", "2"]
    app.waiting[1].cancel()


# -- the end, while the app waits


def test_closed_comes_after_received_is_done_when_the_client_vanishes(made: House) -> None:
    app = Slow()
    client = made.make_wire(app)
    client.send(text("1"), text("2"))
    client.vanish()
    assert client.count.now == 0
    assert client.ended[0] == 1006
    assert app.ends == []
    app.go_on(client)
    assert app.events == ["1", 1006]


def test_our_close_does_not_wait_for_a_waiting_app(made: House) -> None:
    app = Slow()
    client = made.make_wire(app)
    client.send(text("1"), text("2"), text("3"))
    client.send(text("4"))
    app.connection.close(4000)
    assert client.frames() == [closing(4000)]
    assert client.transport.reading or client.transport.incoming == b""
    made.loop.settle()
    client.send(close(4000))
    made.loop.settle()
    assert client.transport.lost
    assert client.ended == (4000, "", "server")
    assert app.ends == []
    app.go_on(client)
    assert app.events == ["1", 4000]


def test_the_clients_answer_to_our_close_may_have_been_read_already(made: House) -> None:
    app = Slow()
    client = made.make_wire(app)
    client.send(text("1"), text("2"), close(3000))
    app.connection.close(4000)
    made.loop.settle()
    assert client.transport.lost
    assert client.ended == (4000, "", "server")
    app.go_on(client)
    assert app.events == ["1", 4000]


def test_a_clients_close_frame_waits_its_turn(made: House) -> None:
    app = Slow()
    client = made.make_wire(app)
    client.send(text("1"), text("2"), close(3000))
    assert client.sent == b""
    app.go_on(client)
    assert app.messages == ["1", "2"]
    assert client.sent == b""
    app.go_on(client)
    assert client.frames() == [closing(3000)]
    made.loop.settle()
    assert app.events == ["1", "2", 3000]


def test_a_paused_app_is_not_declared_dead(made: House) -> None:
    """While the app makes its client wait, the client's pong is not read either."""
    app = Slow()
    client = made.make_wire(app, ping_interval=25.0, ping_timeout=10.0)
    client.send(text("1"))
    client.send(frame(10, b"ping"))
    made.loop.advance(300)
    assert not client.transport.closing
    assert client.sent.count(b"\x89\x04ping") > 5
    app.go_on(client)
    assert client.transport.reading
    made.loop.advance(100)
    assert client.transport.aborted, "it is silent and nobody makes it wait any more"


def test_one_whose_answer_was_not_read_yet_is_not_dead(made: House) -> None:
    """The app goes on at the very time at which the answer to the ping would be late."""
    app = Slow()
    client = made.make_wire(app, ping_interval=25.0, ping_timeout=10.0)
    client.send(text("1"))
    made.loop.advance(34.9)
    app.waiting.pop(0).set_result(None)
    made.loop.settle()
    made.loop.advance(0.2)
    assert not client.transport.closing
    made.loop.advance(25.0)
    assert client.transport.aborted, "but it has to answer the next"


# -- any order

FRAGMENTS = frame(1, b"c", fin=False) + frame(9) + frame(0, b"d")
MESSAGES = st.lists(st.sampled_from([text("a"), binary(b"b" * 200), FRAGMENTS, frame(9, b"e")]), max_size=12)
CUTS = st.lists(st.integers(0, 400), max_size=6)
WAITS = st.lists(st.booleans(), min_size=12, max_size=12)


@given(st.sampled_from(list(READERS)), MESSAGES, CUTS, WAITS)
def test_order_is_kept_whichever_messages_are_waited_for(
    reader: str, messages: list[bytes], cuts: list[int], waits_for: list[bool]
) -> None:  # fmt: skip
    stream = b"".join(messages)
    places = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    expected = []
    with house(reader) as made:
        plain = App()
        client = made.make_wire(plain)
        client.send(stream)
        expected, pongs = plain.messages, client.frames()
        answers = iter(waits_for)
        app = App(lambda connection, message: asyncio.sleep(1) if next(answers, False) else None)
        client = made.make_wire(app, ping_interval=0.0)
        for start, end in pairwise(places):
            client.send(stream[start:end])
            made.loop.advance(0.3)
        made.loop.advance(20)
        assert app.messages == expected
        assert client.frames() == pongs
        assert client.transport.reading
