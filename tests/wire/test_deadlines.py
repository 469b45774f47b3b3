"""wire/deadlines.py: idle connections, the end of a lifetime, and that the earliest of all deadlines is on the wheel."""

from __future__ import annotations

from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from tests.support.fakes import App, Client, House, closing, frame, house, request, text
from wsdaemon.core.wheel import RESOLUTION_SECONDS
from wsdaemon.wire.autobahn.slim import PING_FRAME
from wsdaemon.wire.deadlines import NEVER

IDLE = closing(1001, "idle for too long")
LATE = 6 * RESOLUTION_SECONDS
"""Seconds by which the wheel may be late in all: until it is closed, a connection is looked at five times."""
OVER = closing(1001, "lifetime is over")


pytestmark = pytest.mark.readers()


def opened(made: House, **options: Any) -> tuple[Client, App]:
    app = App()
    return made.make_wire(app, **{"ping_interval": 0.0, **options}), app


# -- idle


def test_without_a_message_it_is_closed(made: House) -> None:
    client, _ = opened(made, idle_timeout=60.0)
    made.loop.advance(59.9)
    assert client.writer.live
    made.loop.advance(0.1 + LATE)
    assert client.frames() == [IDLE]
    client.answer_close()
    assert client.ended == (1001, "idle for too long", "server")
    assert len(client.wheel) == 0


@pytest.mark.parametrize("direction", ["in", "out"])
@pytest.mark.parametrize("after", [0.0, 7.0, 14.9, 15.1, 59.0, 200.0])
def test_a_message_either_way_begins_it_anew(made: House, direction: str, after: float) -> None:
    client, app = opened(made, idle_timeout=60.0)
    for passed in range(0, int(after), 50):
        made.loop.advance(min(50.0, after - passed))
        client.send(text("x"))
    if direction == "in":
        client.send(text("last"))
    else:
        app.connection.send("last")
    made.loop.advance(59.9)
    assert client.writer.live
    made.loop.advance(15.1 + LATE)
    assert client.frames()[-1] == IDLE, "at most a quarter too late"


def test_pings_and_their_answers_are_no_messages(made: House) -> None:
    client, _ = opened(made, idle_timeout=60.0, ping_interval=20.0, ping_timeout=10.0)
    for _ in range(12):
        made.loop.advance(5.0)
        client.send(frame(10), frame(9))
    made.loop.advance(LATE)
    assert client.frames()[-1] == IDLE


def test_a_message_every_now_and_then_keeps_it_open_for_ever(made: House) -> None:
    client, _ = opened(made, idle_timeout=60.0)
    for _ in range(100):
        made.loop.advance(59.0)
        client.send(text("x"))
    assert client.writer.live


# -- lifetime


def test_a_lifetime_ends_however_busy_it_is(made: House) -> None:
    client, app = opened(made, lifetime=100.0)
    for _ in range(99):
        made.loop.advance(1.0)
        client.send(text("x"))
    assert client.writer.live
    made.loop.advance(1.1)
    assert client.frames() == [OVER]
    client.answer_close()
    assert app.ends == [(1001, "lifetime is over")]


def test_the_earliest_end_that_was_said_is_the_one(made: House) -> None:
    client, _ = opened(made, lifetime=100.0)
    now = made.loop.time()
    client.wire.end_by(now + 50.0, 4401, "credentials expired")
    client.wire.end_by(now + 70.0, 4000, "too late")
    made.loop.advance(49.9)
    assert client.writer.live
    made.loop.advance(0.2)
    assert client.frames() == [closing(4401, "credentials expired")]


def test_an_end_that_is_over_already(made: House) -> None:
    client, _ = opened(made)
    client.wire.end_by(made.loop.time() - 5.0, 4401, "credentials expired")
    made.loop.advance(0.1)
    assert client.frames() == [closing(4401, "credentials expired")]


def test_an_end_that_is_said_while_closing_does_not_put_off_the_closing(made: House) -> None:
    client, app = opened(made, close_timeout=5.0)
    app.connection.close(1000, "bye")
    client.wire.end_by(made.loop.time() + 1000.0, 4401, "credentials expired")
    made.loop.advance(5.1)
    assert client.ended == (1000, "bye", "server")
    assert app.ends == [(1000, "bye")]


def test_without_an_answer_the_connection_is_dropped(made: House) -> None:
    client, app = opened(made, lifetime=100.0, idle_timeout=10.0, ping_interval=1.0, ping_timeout=5.0, close_timeout=5.0)
    for _ in range(11):
        made.loop.advance(1.0)
        client.send(frame(10))
    assert client.frames()[-1] == IDLE
    made.loop.advance(5.1)
    assert client.ended == (1001, "idle for too long", "server")
    assert client.transport.lost
    assert len(app.ends) == 1
    assert (len(client.wheel), made.loop.timers) == (0, 0)


# -- together


def test_no_deadline_at_all(made: House) -> None:
    client, _ = opened(made)
    assert len(client.wheel) == 0
    made.loop.advance(1e6)
    assert client.writer.live


def test_each_in_its_turn(made: House) -> None:
    client, _ = opened(made, ping_interval=25.0, ping_timeout=10.0, idle_timeout=80.0, lifetime=200.0)
    log: list[tuple[float, str]] = []
    start = made.loop.time()
    for _ in range(2050):
        made.loop.advance(0.1)
        for one in client.frames():
            log.append((round(made.loop.time() - start), "ping" if one.opcode == 9 else one.reason))
            client.send(frame(10, b"ping"))
        if round(made.loop.time() - start, 1) == 70.0:
            client.send(text("x"))
    pings = [second for second, what in log if what == "ping"]
    assert pings == [25, 50, 75, 100, 125, 150]
    assert log[-1] == (160, "idle for too long")


options = st.sampled_from([0.0, 1.0, 3.0, 7.0, 20.0])
doings = st.lists(st.one_of(st.floats(0.01, 9.0), st.sampled_from(["pong", "message", "send", "end"])), max_size=30)


@given(ping=options, idle=options, lifetime=options, doings=doings)
def test_the_earliest_deadline_is_on_the_wheel(ping: float, idle: float, lifetime: float, doings: list[float | str]) -> None:
    """After everything that happens: one place on the wheel, at the earliest deadline, and no deadline that is past."""
    with house() as made:
        client, app = opened(made, ping_interval=ping, ping_timeout=2.0, idle_timeout=idle, lifetime=lifetime)
        wire, writer, start = client.wire, client.writer, made.loop.time()
        for doing in [*doings, 0.01]:
            if not writer.live:
                break
            if doing == "pong":
                client.send(frame(10))
            elif doing == "message":
                client.send(text("x"))
            elif doing == "send":
                app.connection.send("x")
            elif doing == "end":
                wire.end_by(made.loop.time() + 5.0, 4401, "credentials expired")
            elif isinstance(doing, float):
                made.loop.advance(doing)
            if writer.live:
                check_wheel(client, made.loop.time())
        if writer.live:
            assert not lifetime or made.loop.time() <= start + lifetime + RESOLUTION_SECONDS
        else:
            made.loop.advance(10.0)
            assert len(client.wheel) == 0
            assert len(app.ends) == 1


def check_wheel(client: Client, now: float) -> None:
    deadlines = client.wire.deadlines
    if deadlines is None:
        assert len(client.wheel) == 0
        return
    earliest = min(deadlines.ping_at, deadlines.idle_at, deadlines.end_at)
    if earliest == NEVER:
        assert (len(client.wheel), deadlines.due_bucket) == (0, 0)
    else:
        assert len(client.wheel) == 1
        assert abs(deadlines.due_bucket * RESOLUTION_SECONDS - earliest) <= 2 * RESOLUTION_SECONDS
        assert earliest > now - 2 * RESOLUTION_SECONDS


def test_the_handshake_of_a_mounted_class_keeps_its_own_time(made: House) -> None:
    """The end of a connection may be set before it is open; until then the wheel keeps the time of the opening handshake."""


    class Thinking(WebSocketServerProtocol):
        def onConnect(self, request: object) -> Deferred[None]:
            return Deferred()

    client = made.make_wire(mounted=Thinking, ping_interval=0.0, lifetime=50.0, handshake_timeout=20.0)
    bucket = client.wire.deadlines.due_bucket
    client.wire.end_by(made.loop.time() + 10.0, 4401, "credentials expired")
    assert (client.wire.deadlines.end_at, client.wire.deadlines.due_bucket) == (made.loop.time() + 10.0, bucket)
    made.loop.advance(10.1)
    assert not client.transport.aborted
    made.loop.advance(10.1)
    assert client.transport.aborted


def test_a_ping_is_a_whole_frame(made: House) -> None:
    client, _ = opened(made, ping_interval=25.0, opening=request())
    made.loop.advance(25.1)
    assert client.sent == PING_FRAME
