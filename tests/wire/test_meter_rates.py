"""wire/input.py: a client that sends faster than it may is read more slowly, or sent away; with each way of reading frames."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import READERS, App, Client, Frame, House, binary, closing, frame, house, request, text
from wsdaemon.core.connection import Connection
from wsdaemon.wire.body import BODY_BYTES
from wsdaemon.wire.deflate.negotiation import DeflateOptions
from wsdaemon.wire.reader import MAX_FRAMES_PER_PASS

pytestmark = pytest.mark.readers()


def numbers(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last)]


# -- messages


def test_reading_pauses_until_what_came_is_earned(made: House) -> None:
    app = App()
    client = made.make_wire(app, messages_per_second=10.0, ping_interval=0.0)
    client.send(*map(text, numbers(0, 20)))
    assert len(app.messages) == 20
    assert client.transport.reading, "two seconds' worth may come at once"
    client.send(text("20"))
    assert not client.transport.reading
    client.send(*map(text, numbers(21, 100)))
    assert app.messages == numbers(0, 21)
    made.loop.advance(0.099)
    assert app.messages == numbers(0, 21)
    made.loop.advance(100.0)
    assert app.messages == numbers(0, 100), "nothing is lost, and the order is kept"
    assert client.transport.reading
    assert client.writer.live


@pytest.mark.parametrize("size", [10, 300])
def test_no_more_than_the_rate_over_time(made: House, size: int) -> None:
    """Besides what one look at the frames takes, for which the client pays afterwards."""
    app = App()
    client = made.make_wire(app, messages_per_second=100.0)
    client.send(*[text("x" * size)] * 5000)
    for second in range(1, 20):
        made.loop.advance(1.0)
        assert 100 * second <= len(app.messages) <= 200 + 100 * second + MAX_FRAMES_PER_PASS
    made.loop.advance(40.0)
    assert len(app.messages) == 5000


def test_a_client_within_its_rate_is_never_paused(made: House) -> None:
    app = App()
    client = made.make_wire(app, messages_per_second=10.0, bytes_per_second=1000.0, control_frames_per_second=10.0)
    for _ in range(200):
        client.send(text("x" * 50), frame(9))
        made.loop.advance(0.1)
    assert client.transport.pauses == 0
    assert len(app.messages) == 200


# -- bytes


def test_bytes_too(made: House) -> None:
    app = App()
    client = made.make_wire(app, bytes_per_second=1000.0)
    client.send(*[binary(b"x" * 492)] * 10)  # frames of 500 bytes
    made.loop.advance(2.9)
    assert not client.transport.reading
    made.loop.advance(0.2)
    assert client.transport.reading
    assert len(app.messages) == 10


def test_large_messages_that_never_come_in_one_piece(made: House) -> None:
    """Each read ends one message and begins the next."""
    app = App()
    client = made.make_wire(app, bytes_per_second=100_000.0, max_message=10 * BODY_BYTES)
    data = binary(bytes(3 * BODY_BYTES)) * 40
    for place in range(0, len(data), BODY_BYTES // 2 + 7):
        client.send(data[place : place + BODY_BYTES // 2 + 7])
    for _ in range(20):
        made.loop.advance(1.0)
        size = sum(map(len, app.messages))
        assert size <= 100_000 * (made.loop.time() - 1000.0 + 2) + 4 * BODY_BYTES
    made.loop.advance(200.0)
    assert app.messages == [bytes(3 * BODY_BYTES)] * 40


def test_what_is_compressed_counts_as_it_came(made: House) -> None:
    app = App()
    opening = request(sec_websocket_extensions="permessage-deflate")
    client = made.make_wire(app, opening=opening, deflate=DeflateOptions(client_context_takeover=False), bytes_per_second=100.0)
    client.send(frame(1, bytes.fromhex("f248cdc9c90700"), rsv=4), frame(1, bytes.fromhex("4a4c1c05a360148c58000000"), rsv=4))
    assert app.messages[0] == "Hello"
    assert client.transport.pauses == 0


# -- apps that want to wait


def test_an_app_that_always_waits_hides_nothing(made: House) -> None:
    async def received(connection: Connection, message: Any) -> None:
        await asyncio.sleep(0)

    app = App(received)
    client = made.make_wire(app, messages_per_second=10.0)
    client.send(*map(text, numbers(0, 100)))
    made.loop.advance(1.0)
    assert len(app.messages) <= 31
    made.loop.advance(100.0)
    assert app.messages == numbers(0, 100)


@given(
    parts=st.lists(st.integers(1, 400), max_size=30),
    waits=st.lists(st.floats(0, 2), max_size=10),
    rate=st.sampled_from([0.0, 5.0, 50.0]),
    reader=st.sampled_from(sorted(READERS)),
)
def test_nothing_is_lost_however_it_comes(parts: list[int], waits: list[float], rate: float, reader: str) -> None:
    """Cut anywhere, with an app that waits now and then, and a client that is too fast now and then."""
    times = iter(waits)

    async def pause(seconds: float) -> None:
        await asyncio.sleep(seconds)

    def received(connection: Connection, message: Any) -> Any:
        seconds = next(times, None)
        return None if seconds is None else pause(seconds)

    with house(reader) as made:
        app = App(received)
        client = made.make_wire(app, messages_per_second=rate, bytes_per_second=200.0, ping_interval=0.0)
        sent = [f"{number} ".ljust(number * 7 % 130, "x") for number in range(40)]
        data = b"".join(map(text, sent))
        position = 0
        for size in [*parts, len(data)]:
            client.send(data[position : position + size])
            position += size
            made.loop.advance(0.05)
        made.loop.advance(100.0)
        assert app.messages == sent
        assert client.transport.reading


# -- close


@pytest.mark.parametrize("options", [{"messages_per_second": 10.0}, {"bytes_per_second": 1000.0}])
def test_whoever_is_too_fast_is_sent_away(made: House, options: dict[str, Any]) -> None:
    app = App()
    client = made.make_wire(app, over_rate="close", **options)
    client.send(*[text("x" * 94)] * 20)
    assert client.writer.live
    client.send(text("x" * 94))
    assert client.frames() == [closing(1008, "too many messages")]
    client.send(text("too late"))
    assert len(app.messages) == 21
    client.answer_close()
    assert client.ended == (1008, "too many messages", "server")


def test_a_flood_in_one_read_is_cut_off(made: House) -> None:
    app = App()
    client = made.make_wire(app, over_rate="close", messages_per_second=10.0)
    client.send(*[text("x")] * 5000)
    assert client.frames() == [closing(1008, "too many messages")]
    assert len(app.messages) <= MAX_FRAMES_PER_PASS


def test_a_client_that_kept_to_its_rate_while_the_process_was_stopped(made: House) -> None:
    """The loop reads what waits in the socket before its late timers run."""
    app = App()
    client = made.make_wire(app, over_rate="close", messages_per_second=10.0, ping_interval=0.0)
    client.wheel.absence.start()
    made.loop._now += 60.0
    client.send(*[text("x")] * 600)
    made.loop.settle()
    assert len(app.messages) == 600
    assert client.writer.live
    made.loop.advance(5.0)
    client.send(*[text("x")] * 30)
    made.loop.settle()
    assert client.frames() == [closing(1008, "too many messages")], "afterwards its rate holds again"


def test_control_frames_that_came_while_the_process_was_stopped(made: House) -> None:
    client = made.make_wire(App(), control_frames_per_second=5.0, ping_interval=0.0)
    client.wheel.absence.start()
    client.send(frame(10, b""))
    made.loop._now += 60.0
    client.send(*[frame(10, b"")] * 300)
    made.loop.settle()
    assert client.writer.live


# -- control frames


def in_fragments(*frames: bytes) -> list[bytes]:
    """Control frames in the middle of a message, where Autobahn's parser sees them."""
    return [frame(1, b"a", fin=False), *frames, frame(0, b"b")]


@pytest.mark.parametrize("between", [False, True], ids=["alone", "between fragments"])
@pytest.mark.parametrize("opcode", [9, 10])
def test_too_many_control_frames(made: House, opcode: int, between: bool) -> None:
    client = made.make_wire(App(), control_frames_per_second=5.0)
    flood = [frame(opcode, b"%d" % number) for number in range(11)]
    wrapped = in_fragments if between else lambda *frames: list(frames)
    client.send(*wrapped(*flood[:10]))
    pongs = [Frame(10, b"%d" % number) for number in range(10)] if opcode == 9 else []
    assert client.frames() == pongs
    client.send(*wrapped(flood[10]))
    assert client.frames() == [closing(1008, "too many control frames")]
    client.answer_close()
    assert client.ended == (1008, "too many control frames", "server")


def test_control_frames_are_earned_again(made: House) -> None:
    client = made.make_wire(App(), control_frames_per_second=5.0, ping_interval=0.0)
    for _ in range(10):
        client.send(*[frame(9)] * 5)
        made.loop.advance(1.01)
    assert client.writer.live
    assert client.transport.pauses == 0


def test_control_frames_cost_no_messages_and_messages_no_control_frames(made: House) -> None:
    app = App()
    client = made.make_wire(app, messages_per_second=5.0, control_frames_per_second=5.0)
    client.send(*[frame(9), text("x")] * 10)
    assert client.writer.live
    assert client.transport.pauses == 0
    assert len(app.messages) == 10


# -- the end, while the client has to wait


def in_debt(made: House, **options: Any) -> tuple[Client, App]:
    app = App()
    client = made.make_wire(app, bytes_per_second=1.0, max_message=10_000, **options)
    client.send(text("x" * 9000))
    assert not client.transport.reading
    return client, app


def test_a_client_that_is_gone_is_not_waited_for(made: House) -> None:
    client, app = in_debt(made, ping_interval=0.0)
    client.vanish()
    made.loop.settle()
    assert app.ends == [(1006, "connection lost without a Close frame")]
    assert made.loop.timers == 0


def test_a_close_of_ours_is_answered_at_once(made: House) -> None:
    client, app = in_debt(made)
    app.connection.close(1001, "going")
    client.send(text("not for the app any more"))
    made.loop.settle()
    client.answer_close()
    assert client.ended == (1001, "going", "server")
    assert app.ends == [(1001, "going")]
    assert len(app.messages) == 1


def test_while_it_has_to_wait_its_pong_is_not_missed(made: House) -> None:
    client, app = in_debt(made, ping_interval=25.0, ping_timeout=10.0)
    made.loop.advance(1000.0)
    assert client.writer.live
    assert client.sent.count(b"\x89\x04ping") > 5
    assert app.ends == []
