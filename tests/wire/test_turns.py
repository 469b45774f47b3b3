"""wire/turns.py and wire/reader.py: however much a client sends, and however much work that is, others have their turn.

The clock is looked at, never waited for: here each look, or each message, makes it later.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import READERS, App, Client, House, binary, close, closing, frame, house, request, text
from wsdaemon.core.connection import Connection
from wsdaemon.core.slices import SLICE_SECONDS
from wsdaemon.wire.deflate.compressor import DeflateBudget
from wsdaemon.wire.deflate.negotiation import DeflateOptions
from wsdaemon.wire.reader import BRIEF_SECONDS, FULL_READ_BYTES, LONG_READ_BYTES, TURN
from wsdaemon.wire.turns import TURN_SECONDS, Turns

OFFER = request(sec_websocket_extensions="permessage-deflate; client_no_context_takeover")
MANY = 1000


class Work:
    """An app for which each message takes `seconds`."""

    def __init__(self, house: House, seconds: float) -> None:
        self.house = house
        self.seconds = seconds
        self.app = App(self._work)

    def _work(self, connection: Connection, message: Any) -> None:
        self.house.now += self.seconds


pytestmark = pytest.mark.readers()


def numbered(count: int) -> tuple[list[str], bytes]:
    messages = [str(number) for number in range(count)]
    return messages, b"".join(map(text, messages))


# -- one connection


def test_many_small_messages_are_taken_in_slices(made: House) -> None:
    work = Work(made, SLICE_SECONDS / 16)
    messages, data = numbered(MANY)
    client = made.make_wire(work.app)
    client.send(data)
    first = len(work.app.messages)
    assert 16 <= first <= most_at_once(client)
    assert not client.transport.reading
    client.send(text("last"))
    made.loop.settle()
    assert work.app.messages == [*messages, "last"]
    assert client.transport.reading
    assert len(client.turns) == 0


def most_at_once(client: Client) -> int:
    """Tiny messages between two looks at the time, twice; a piece for Autobahn's parser holds more of them."""
    return 80 if client.fast else 400


@pytest.mark.readers("python", "c")
def test_a_client_that_sends_little_costs_no_look_at_the_time(made: House) -> None:
    def now() -> float:
        raise AssertionError("the clock was read")

    app = App()
    client = made.make_wire(app)
    made.turns.now = now
    client.send(text("x"))
    client.send(frame(9))
    client.send(binary(bytes(LONG_READ_BYTES - 10)))
    assert client.writer.live and len(app.messages) == 2


def compressed(payload: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = bytearray(binary(deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)[:-4]))
    data[0] |= 0x40
    return bytes(data)


def test_of_messages_that_grow_only_a_few_are_taken_at_once(made: House) -> None:
    """A thousand bytes that inflate to a megabyte each take milliseconds, and hundreds of them come in one read."""
    work = Work(made, SLICE_SECONDS / 2)
    client = made.make_wire(work.app, opening=OFFER, deflate=DeflateOptions(), max_message=1 << 20)
    assert "permessage-deflate" in client.head
    bomb = compressed(bytes(1 << 20))
    assert len(bomb) < 1100
    client.send(bomb * 50)
    assert 0 < len(work.app.messages) <= 8
    for _ in range(3):
        before = len(work.app.messages)
        made.loop.turn()
        assert len(work.app.messages) <= before + 8
    made.loop.settle()
    assert len(work.app.messages) == 50


def test_compressing_is_charged_to_the_turn(made: House) -> None:
    client = made.make_wire(App(), opening=OFFER, deflate=DeflateOptions(threshold=0))
    clock = count()
    client.turns.now = lambda: float(next(clock))
    client.connection.send("x" * 1000)
    assert client.turns.spent == 1.0


def test_of_messages_that_take_long_to_compress_only_a_few_are_echoed_at_once(made: House) -> None:
    """The app takes no time of its own: what is compressed on its way out is charged to the turn, and others have theirs."""

    def work() -> float:
        made.now += SLICE_SECONDS / 4
        return made.now

    made.turns.deflating = DeflateBudget(lambda: 0.0, work)
    made.turns.deflating.charge(1.0)  # nothing is to spare
    app = App(lambda connection, message: connection.send(message))
    client = made.make_wire(app, opening=OFFER, deflate=DeflateOptions(), max_message=1 << 20, send_backlog=1 << 30)
    client.send(compressed(bytes(1 << 20)) * 20)
    assert len(app.messages) == 1
    for turn in range(2, 20):
        made.loop.turn()
        assert len(app.messages) <= turn
    made.loop.settle()
    assert len(app.messages) == 20


@pytest.mark.readers("python", "c")
def test_of_messages_that_take_long_only_a_few_are_taken_at_once(made: House) -> None:
    work = Work(made, SLICE_SECONDS / 2)
    messages, data = numbered(100)
    client = made.make_wire(work.app)
    client.send(data)
    assert 0 < len(work.app.messages) <= 5
    made.loop.settle()
    assert work.app.messages == messages


def ticking(client: Client, step: float = SLICE_SECONDS) -> None:
    """Each look at the clock makes it later."""
    now = 0.0

    def look() -> float:
        nonlocal now
        now += step
        return now

    client.turns.now = look


def test_many_small_fragments_are_taken_in_slices(made: House) -> None:
    """They go to Autobahn's parser, which takes its time: no message is delivered all the while."""
    app = App()
    client = made.make_wire(app)
    ticking(client)
    client.send(frame(1, b"a", fin=False), *[frame(0, b"b", fin=False)] * 3 * MANY, frame(0, b"c"))
    for _ in range(3):
        before = len(client.reader.unread)
        assert before > MANY
        made.loop.turn()
        assert before - 5000 < len(client.reader.unread) < before
    made.loop.settle()
    assert app.messages == ["a" + "b" * 3 * MANY + "c"]


def test_after_a_read_that_filled_the_buffer_others_have_their_turn(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    data = binary(bytes(FULL_READ_BYTES - 14))
    assert len(data) == FULL_READ_BYTES
    made.now = 1.0
    client.reader.data_received(data)
    assert client.transport.reading, "it took no time"
    ticking(client, BRIEF_SECONDS * 1.1)
    client.reader.data_received(data[: FULL_READ_BYTES - 1])
    assert client.transport.reading, "nothing more is there to be read"
    client.reader.data_received(data[FULL_READ_BYTES - 1 :] + data[: FULL_READ_BYTES - 1])
    assert not client.transport.reading
    made.loop.settle()
    assert client.transport.reading
    assert app.messages == [bytes(FULL_READ_BYTES - 14)] * 2


def sliced(made: House, **options: Any) -> tuple[Client, App]:
    """A connection that has more to read."""
    _, data = numbered(MANY)
    app = App()
    client = made.make_wire(app, **options)
    ticking(client)
    client.send(data)
    assert 0 < len(app.messages) < MANY
    assert client.reader.stops & TURN
    return client, app


def test_what_comes_although_reading_is_paused_waits_behind(made: House) -> None:
    """As over TLS, where what was decrypted already may still come."""
    client, app = sliced(made)
    before = len(app.messages)
    client.reader.data_received(text("late"))
    assert len(app.messages) == before
    made.loop.settle()
    assert len(app.messages) == MANY + 1 and app.messages[-1] == "late"


def test_the_close_of_the_client_is_the_last(made: House) -> None:
    client, app = sliced(made)
    client.send(close(3000))
    assert client.writer.live
    made.loop.settle()
    assert len(app.messages) == MANY
    assert client.frames() == [closing(3000)]
    assert app.ends == [(3000, "")]


def test_after_our_close_no_more_is_delivered_and_the_answer_is_found(made: House) -> None:
    client, app = sliced(made)
    before = len(app.messages)
    app.connection.close(1000)
    client.send(close(1000))
    made.loop.settle()
    assert len(app.messages) == before
    assert client.ended == (1000, "", "server")


def test_one_that_is_gone_is_told_once_and_has_no_more_turns(made: House) -> None:
    client, app = sliced(made)
    before = len(app.messages)
    client.vanish()
    assert app.ends == [(1006, "connection lost without a Close frame")]
    made.loop.settle()
    assert len(app.messages) == before
    assert len(app.ends) == 1
    assert len(client.turns) == 0
    assert client.reader.unread == b"" and client.reader.held is None


def test_one_that_waits_for_its_turn_is_not_dead(made: House) -> None:
    """Its pong may be among what was not read yet."""
    client, _ = sliced(made, ping_interval=25.0, ping_timeout=10.0)
    turns: list[Any] = []
    client.turns._postponed._call_soon = turns.append
    made.loop.turn()
    made.loop.advance(40.0)
    assert client.writer.live
    assert client.transport.aborted is False


def test_an_app_that_waits_and_a_turn_that_comes_keep_the_order(made: House) -> None:
    waiting: list[Any] = []

    def wait(connection: Connection, message: Any) -> Any:
        if int(message) % 10 == 9:
            waiting.append(made.loop.create_future())
            return waiting[-1]
        return None

    app = App(wait)
    messages, data = numbered(100)
    client = made.make_wire(app)
    ticking(client)
    client.send(data)
    for _ in range(200):
        made.loop.turn()
        if waiting:
            waiting.pop().set_result(None)
    made.loop.settle()
    assert app.messages == messages
    assert client.transport.reading


# -- several


def test_others_have_their_turn_in_between(made: House) -> None:
    order: list[str] = []
    hog = App(lambda connection, message: order.append("hog"))
    guest = App(lambda connection, message: order.append("guest"))
    _, data = numbered(MANY)
    first, second = made.make_wire(hog), made.make_wire(guest)
    ticking(first)
    first.send(data)
    for _ in range(5):
        second.send(text("hello"))
        made.loop.turn()
    made.loop.settle()
    assert order.count("guest") == 5
    places = [0, *[place for place, who in enumerate(order) if who == "guest"]]
    assert all(0 < later - earlier < MANY / 2 for earlier, later in pairwise(places))


@pytest.mark.readers("python", "c")
def test_many_that_send_much_share_the_turn(made: House) -> None:
    """Each has its slice, but a hundred slices in a row would be a long time for everybody else."""
    work = Work(made, SLICE_SECONDS / 16)
    messages, data = numbered(MANY)
    clients = [made.make_wire(work.app) for _ in range(50)]
    for client in clients:
        client.send(data)
    assert made.now < TURN_SECONDS + 3 * SLICE_SECONDS
    guest = App()
    visitor = made.make_wire(guest)
    visitor.send(text("hello"))
    assert guest.messages == ["hello"], "who sends little has to wait for none of that"
    for _ in range(10):
        before = made.now
        made.loop.turn()
        assert made.now - before < 4 * SLICE_SECONDS
    made.loop.settle()
    assert sorted(work.app.messages) == sorted(messages * 50)
    assert all(client.transport.reading for client in clients)


def test_those_who_wait_have_their_turn_although_others_always_have_something_new(made: House) -> None:
    _, data = numbered(MANY)
    work = Work(made, SLICE_SECONDS / 16)
    first = made.make_wire(work.app)
    first.send(data)
    for _ in range(100):
        made.loop.turn()
        made.turns.spend(2 * TURN_SECONDS)  # another connection, as soon as the turn begins
    assert len(work.app.messages) == MANY


class Sink:
    """A connection with `left` slices to read, each of which takes `seconds`."""

    def __init__(self, bench: Bench, left: int, seconds: float, action: Callable[[], object] = lambda: None) -> None:
        self.bench, self.left, self.seconds, self.action = bench, left, seconds, action

    def read_on(self) -> None:
        self.bench.now += self.seconds
        self.bench.order.append(self)
        self.left -= 1
        if self.left:
            self.bench.turns.add(self)
        self.action()


class Bench:
    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[Callable[[], None]] = []
        self.order: list[Sink] = []
        self.turns = Turns(self.calls.append, now=lambda: self.now)

    def turn(self) -> None:
        calls, self.calls[:] = list(self.calls), []
        for call in calls:
            call()


def test_each_has_one_slice_and_then_the_next_one() -> None:
    bench = Bench()
    a, b = Sink(bench, 2, 0.0), Sink(bench, 1, 0.0)
    bench.turns.add(a)
    bench.turns.add(b)
    assert len(bench.calls) == 1
    bench.turn()
    assert bench.order == [a, b]
    bench.turn()
    assert bench.order == [a, b, a]
    assert bench.calls == [] and len(bench.turns) == 0


def test_with_many_connections_the_loop_goes_on_in_between() -> None:
    bench = Bench()
    sinks = [Sink(bench, 1, SLICE_SECONDS / 2) for _ in range(100)]
    for sink in sinks:
        bench.turns.add(sink)
    turns = 0
    while bench.calls:
        before = len(bench.order)
        bench.turn()
        turns += 1
        assert 1 <= len(bench.order) - before <= 3
    assert bench.order == sinks and turns > 30


def test_one_that_fails_leaves_the_others_their_turn() -> None:
    bench = Bench()

    def fail() -> None:
        raise ValueError("broken")

    bad, good = Sink(bench, 1, 0.0, fail), Sink(bench, 1, 0.0)
    bench.turns.add(bad)
    bench.turns.add(good)
    with pytest.raises(ValueError, match="broken"):
        bench.turn()
    bench.turn()
    assert bench.order == [bad, good]


FRAGMENTS = frame(1, b"c", fin=False) + frame(9) + frame(0, b"d")
STREAM = st.lists(st.sampled_from([text("a"), binary(b"b" * 300), FRAGMENTS, frame(9, b"e"), compressed(b"f" * 5000)]), max_size=40)


@given(
    reader=st.sampled_from(list(READERS)), stream=STREAM, cuts=st.lists(st.integers(0, 2000), max_size=6),
    step=st.sampled_from([0.0, SLICE_SECONDS / 3, SLICE_SECONDS]),
    end=st.sampled_from(["", "client", "server", "gone"]), wait=st.booleans(),
)  # fmt: skip
def test_slices_change_nothing(reader: str, stream: list[bytes], cuts: list[int], step: float, end: str, wait: bool) -> None:
    """The app and the client get the same with slices as without."""
    data = b"".join(stream)
    places = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    with house(reader) as made:
        plain = App()
        expected = made.make_wire(plain, opening=OFFER, deflate=DeflateOptions())
        expected.send(data)
        app = App()
        client = made.make_wire(app, opening=OFFER, deflate=DeflateOptions())
        ticking(client, step)
        for first, last in pairwise(places):
            client.send(data[first:last])
            if wait:
                made.loop.turn()
        if end == "client":
            client.send(close(3000))
        elif end == "server":
            app.connection.close(3001)
            client.send(close(3001))
        elif end == "gone":
            client.vanish()
        made.loop.settle()
        assert app.messages == plain.messages[: len(app.messages)]
        if end in ("", "client"):
            assert app.messages == plain.messages
            assert client.frames() == expected.frames() + [closing(3000)] * (end == "client")
        assert len(app.ends) == (end != "")
        assert len(client.turns) == 0
