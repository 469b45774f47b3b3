"""apps/ticker.py: one timer for all clients, and none without clients."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from tests.support.fakes import Client, House, close, text
from wsdaemon.apps.ticker import TickerApp
from wsdaemon.wire.policy import HIGH_WATER_BYTES


def ticks(client: Client) -> list[int]:
    return [json.loads(answer.payload)["tick"] for answer in client.frames() if answer.opcode == 1]


def test_a_line_of_json_with_the_time(made: House) -> None:
    client = made.make_wire(TickerApp(1.0))
    made.loop.advance(1.0)
    [line] = client.frames()
    assert line.opcode == 1
    told = json.loads(line.payload)
    assert set(told) == {"time", "tick"}
    assert told["tick"] == 1
    assert datetime.fromisoformat(told["time"]).tzinfo == UTC


def test_the_interval(made: House) -> None:
    client = made.make_wire(TickerApp(0.5), ping_interval=0.0)
    made.loop.advance(0.4)
    assert ticks(client) == []
    made.loop.advance(2.2)
    assert ticks(client) == [1, 2, 3, 4, 5]


def test_all_get_the_same_line(made: House) -> None:
    app = TickerApp(1.0)
    clients = [made.make_wire(app) for _ in range(3)]
    made.loop.advance(2.0)
    lines = [client.frames() for client in clients]
    assert lines[0] == lines[1] == lines[2]
    assert len(lines[0]) == 2


def test_one_timer_for_all_and_none_for_nobody(made: House) -> None:
    app = TickerApp(1.0)
    assert made.loop.timers == 0
    clients = [made.make_wire(app, ping_interval=0.0) for _ in range(3)]
    assert made.loop.timers == 1
    made.loop.advance(1.0)
    for client in clients:
        client.vanish()
    made.loop.advance(1.0)
    assert made.loop.timers == 0
    late = made.make_wire(app, ping_interval=0.0)
    made.loop.advance(1.0)
    assert ticks(late) == [2]


def test_who_has_left_gets_nothing(made: House) -> None:
    app = TickerApp(1.0)
    client, other = made.make_wire(app), made.make_wire(app)
    client.send(text("ignored"), close())
    made.loop.advance(1.0)
    assert ticks(client) == []
    assert ticks(other) == [1]


def test_a_connection_that_is_closing_gets_nothing_and_hinders_no_other(made: House) -> None:
    app = TickerApp(1.0)
    client, other = made.make_wire(app), made.make_wire(app)
    client.wire.close(1001, "")
    made.loop.advance(1.0)
    assert ticks(client) == []
    assert ticks(other) == [1]


def test_a_slow_client_misses_ticks_rather_than_getting_old_ones_late(made: House) -> None:
    client = made.make_wire(TickerApp(1.0), ping_interval=0.0)
    client.transport.stuck = True
    client.connection.send(bytes(HIGH_WATER_BYTES + 1))
    made.loop.advance(3.0)
    client.transport.drain()
    made.loop.advance(1.0)
    assert ticks(client) == [4]


def test_stop(made: House) -> None:
    app = TickerApp(1.0)
    client = made.make_wire(app, ping_interval=0.0)
    for step in (app.start, app.stop, app.stop):
        made.loop.create_task(step())
        made.loop.settle()
    made.loop.advance(5.0)
    assert ticks(client) == []
    assert made.loop.timers == 0


def test_a_connection_of_another_process_goes_on_after_its_last_tick(made: House) -> None:
    """Its ticks have their numbers, those of the others here have theirs."""
    old, new = TickerApp(1.0), TickerApp(1.0)
    one, other = made.make_wire(old, ping_interval=0.0), made.make_wire(new, ping_interval=0.0)
    made.loop.advance(3.25)
    assert ticks(one) == ticks(other) == [1, 2, 3]
    made.loop.advance(1.0)
    state = one.wire.session.hand_over()
    assert json.loads(state) == {"tick": 4, "wait": 0.75}
    late = TickerApp(1.0)
    session: Any = late.resume(other.connection, other.handshake, state)
    made.loop.advance(0.75)
    assert (ticks(one), ticks(other)) == ([4], [4, 5, 5])
    made.loop.advance(2.0)
    assert (ticks(one), ticks(other)) == ([], [6, 6, 7, 7])
    assert json.loads(session.hand_over())["tick"] == 7
    made.loop.advance(2.0)
    assert (ticks(one), ticks(other)) == ([], [8, 9])
