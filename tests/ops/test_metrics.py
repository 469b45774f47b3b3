"""ops/metrics.py: totals, surveys of connections, and times."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import App, Client, House, Loop, frame, request, text
from tests.support.metrics import PLACE, FakeWire, connection
from wsdaemon.core.connection import Connection
from wsdaemon.core.histogram import Histogram
from wsdaemon.core.registry import Connections
from wsdaemon.core.wire_halves import Counts
from wsdaemon.ops.metrics import CONNECTIONS_PER_LOOK, MAX_CODES, MEASURE_SECONDS, LoopLatency, Totals, code_label, survey


class Own(WebSocketServerProtocol):  # type: ignore[misc]
    """A class of the user's."""


@dataclass
class Watch:
    """A daemon's watcher, in small."""

    totals: Totals = field(default_factory=Totals)
    connections: Connections = field(default_factory=Connections)

    def opened(self, connection: Connection) -> None:
        self.connections.add(connection)

    def closed(self, connection: Connection, counts: Counts) -> None:
        self.connections.remove(connection)
        self.totals.closed(connection, counts)

    def app_failed(self, connection: Connection, doing: str, error: BaseException) -> None:
        raise AssertionError(doing)


def echo(connection: Connection, message: Any) -> None:
    connection.send(message)


# -- totals and surveys


def test_a_connection_counts_while_it_is_open_and_when_it_is_over(made: House) -> None:
    watch = Watch()
    client = opened(made, App(echo), watch)
    client.send(text("hello"), text("again"))

    def look() -> Any:
        task = made.loop.create_task(survey(watch.totals, watch.connections))
        made.loop.settle()
        return task.result()["/", "here"]

    before = look()
    assert (before.open, before.opened, before.traffic.messages_in, before.traffic.messages_out) == (1, 1, 2, 2)
    assert before.traffic.bytes_in == 2 * (6 + 5)
    client.wire.close(4401, "over")
    client.answer_close()
    after = look()
    assert (after.open, after.opened, after.traffic.messages_in, after.traffic.messages_out) == (0, 1, 2, 2)
    assert after.traffic.closed == {("4401", "server"): 1}
    assert after.traffic.bytes_out > before.traffic.bytes_out


def opened(made: House, app: App, watcher: Any, **options: Any) -> Client:
    wires = made.make_wires(app, watcher, **options)
    return Client(made.loop, wires, watcher, wires.policy.wheel, request(), -1)


def test_backlogs_are_added_up() -> None:
    with Loop() as loop:
        wires = [FakeWire(waiting=size) for size in (10, 300, 0)]
        task = loop.create_task(survey(Totals(), [connection(wire) for wire in wires]))
        loop.settle()
        now = task.result()[PLACE]
        assert (now.backlog, now.largest_backlog) == (310, 300)


def test_a_survey_lets_others_have_their_turn() -> None:
    with Loop() as loop:
        turns = iter(range(1_000_000))
        task = loop.create_task(
            survey(Totals(), [connection(FakeWire()) for _ in range(CONNECTIONS_PER_LOOK * 5)], lambda: float(next(turns)), 1.0)
        )
        loop.settle()
        assert not task.done()
        loop.advance(60)
        assert task.result()[PLACE].open == CONNECTIONS_PER_LOOK * 5


@given(st.lists(st.sampled_from(["open", "close", "traffic", "look"]), max_size=40))
def test_nothing_that_only_grows_ever_shrinks(events: list[str]) -> None:
    """Whatever happens while a survey is under way: it looks at a few, others have their turn, and connections come and go."""
    with Loop() as loop:
        totals, connections = Totals(), Connections()
        wires: list[tuple[Connection, FakeWire]] = []
        tasks: list[asyncio.Task[Any]] = []

        def come() -> None:
            wire = FakeWire()
            wires.append((connection(wire), wire))
            connections.add(wires[-1][0])

        for _ in range(CONNECTIONS_PER_LOOK + 1):
            come()
        ticks = iter(range(1_000_000))
        for event in events:
            if event == "open":
                come()
            elif event == "close" and wires:
                gone, wire = wires.pop()
                wire.messages_in += 1
                gone._ended(1000, "", "client")
                connections.remove(gone)
                totals.closed(gone, wire.counts())
            elif event == "traffic":
                for _, wire in wires:
                    wire.messages_in += 1
            elif event == "look" and all(task.done() for task in tasks):
                tasks.append(loop.create_task(survey(totals, connections, lambda: float(next(ticks)), 1.0)))
            loop.advance(0.4)
        loop.advance(1000)
        seen = [task.result()[PLACE] for task in tasks]
        for values in ([now.opened for now in seen], [now.traffic.messages_in for now in seen]):
            assert values == sorted(values)


def test_close_codes_of_clients_have_a_bound() -> None:
    labels = {code_label(code, by) for by in ("client", "network") for code in range(70_000)}
    assert labels == {*map(str, range(1000, 1016)), "1xxx", "2xxx", "3xxx", "4xxx", "other"}
    totals = Totals()
    for code in range(3000, 5000):
        one = connection(FakeWire())
        one._ended(code, "", "server")
        totals.closed(one, FakeWire().counts())
    closed = totals.snapshot()[PLACE].closed
    assert len(closed) == MAX_CODES + 1
    assert closed["other", "server"] == 2000 - MAX_CODES


def test_what_a_slow_client_was_not_given_counts(made: House) -> None:
    watch = Watch()
    app = App()
    client = opened(made, app, watch, slow_client="drop_oldest", send_backlog=250)
    client.transport.stuck = True
    for _ in range(5):
        app.connection.send("x" * 100)
        made.loop.settle()
    client.vanish()
    assert watch.totals.snapshot()["/", "here"].dropped > 0


# -- times


@given(st.lists(st.floats(0, 100), max_size=50))
def test_a_histogram_counts_each_once(durations: list[float]) -> None:
    histogram = Histogram((0.1, 1.0, 10.0))
    for duration in durations:
        histogram.observe(duration)
    assert sum(histogram.counts) == len(durations)
    assert histogram.counts[0] == sum(duration <= 0.1 for duration in durations)
    assert histogram.counts[-1] == sum(duration > 10.0 for duration in durations)
    assert histogram.total == pytest.approx(sum(durations))


def test_the_loop_is_measured_once_a_second() -> None:
    late = iter([0.0, MEASURE_SECONDS + 0.3, 10.0, 10.0 + MEASURE_SECONDS - 0.001, 20.0])
    with Loop() as loop:
        latency = LoopLatency(loop, lambda: next(late))
        begin = loop.create_task(latency.start())
        loop.advance(2 * MEASURE_SECONDS)
        assert begin.done()
        assert sum(latency.latency.counts) == 2
        assert latency.latency.total == pytest.approx(0.3)  # a timer that is early by a hair is not late
        stop = loop.create_task(latency.stop())
        loop.settle()
        assert stop.done() and loop.timers == 0


@pytest.mark.parametrize("mounted", [False, True])
def test_a_ping_that_is_answered_is_timed_once(made: House, mounted: bool) -> None:
    trips = Histogram((1.0, 2.0, 5.0))
    served: dict[str, Any] = {"mounted": Own} if mounted else {"app": App()}
    client = made.make_wire(**served, ping_interval=25.0, ping_timeout=10.0, round_trips=trips)
    client.send(frame(10, b"ping"))  # no request asked
    made.loop.advance(25.1)
    [ping] = client.frames()
    assert ping.opcode == 9
    pong = frame(10, ping.payload)
    made.loop.advance(1.5)
    client.send(frame(10, b"something else"), pong, pong)
    assert trips.counts == [0, 1, 0, 0]
    assert trips.total == pytest.approx(1.5, abs=0.1)
    made.loop.advance(25.1)
    client.send(frame(10, client.frames()[0].payload))
    assert sum(trips.counts) == 2
