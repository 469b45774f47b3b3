"""ops/metrics.py and /metrics: what is counted, that labels have a bound, and that nothing that only grows ever shrinks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.support.fakes import App, Client, House, Loop, frame, request, text
from wsdaemon.core.connection import Connection, Counts
from wsdaemon.core.handshake import Headers
from wsdaemon.core.histogram import Histogram
from wsdaemon.core.registry import Connections, Count
from wsdaemon.ops.admin.contract import PageRequest
from wsdaemon.ops.admin.exposition import MAX_REASONS, MetricsPage, Sources
from wsdaemon.ops.admin.health import MountView
from wsdaemon.ops.metrics import CONNECTIONS_PER_LOOK, MAX_CODES, MEASURE_SECONDS, LoopLatency, Totals, code_label, survey

PLACE = ("/chat", "here")


class Own(WebSocketServerProtocol):  # type: ignore[misc]
    """A class of the user's."""


@dataclass
class Shown:
    """The part of a handshake that the page needs."""

    mount: str = PLACE[0]
    listener: str = PLACE[1]


@dataclass
class FakeWire:
    messages_in: int = 0
    messages_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    waiting: int = 0
    live: bool = True

    def unsent(self) -> int:
        return self.waiting

    def counts(self) -> Counts:
        return Counts(self.messages_in, self.messages_out, self.bytes_in, self.bytes_out)

    @property
    def writer(self) -> FakeWire:
        return self


def connection(wire: FakeWire, number: str = "1") -> Connection:
    return Connection(wire, Shown(), number)  # type: ignore[arg-type]


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


# -- the page


@dataclass
class Gate:
    refused_by_mount: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def refused(self) -> dict[str, int]:
        return {reason: count for counts in self.refused_by_mount.values() for reason, count in counts.items()}


@dataclass
class Certificate:
    certificate: str
    days: float


@dataclass
class Certificates:
    def expiries(self) -> tuple[Certificate, ...]:
        return (Certificate("/etc/www.pem", 2.0), Certificate("/etc/old.pem", -1.0))


@dataclass
class Listener:
    name: str = "here"
    accepted: int = 7
    crowded_out: int = 1
    handshakes: int = 2
    port: int | None = 443
    gate: Gate = field(default_factory=lambda: Gate({"": {"path": 1}, "/chat": {"origin": 3}}))
    certificates: Certificates | None = None


class StaleFile:
    source = "[auth:staff] file"
    failures = 3

    def problem(self) -> str | None:
        return "/etc/htpasswd: Too many open files"


def page(loop: Loop, accept: str = "", listener: Listener | None = None, totals: Totals | None = None) -> Any:
    sources = Sources(
        version="1",
        frames="compiled",
        ready=lambda: True,
        count=Count(100),
        totals=totals or Totals(),
        connections=[connection(FakeWire(1, 2, 3, 4, 5))],
        listeners=[listener or Listener(certificates=Certificates())],
        mounts=[MountView("/chat", "rooms", Count(), lambda: {"rooms": 4, "members": 9})],
        loop_latency=Histogram(),
        round_trips=Histogram(),
        reloading=lambda: [StaleFile()],
    )
    asked = PageRequest(Headers([(b"accept", accept.encode())] if accept else []), {})
    [(route, handler)] = MetricsPage(sources, True).pages()
    assert route.open
    task: asyncio.Task[Any] = loop.create_task(handler(asked))  # type: ignore[arg-type]
    loop.settle()
    return task.result()


def samples(body: str, parser: Any = parse) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {(one.name, frozenset(one.labels.items())): one.value for family in parser(body) for one in family.samples}


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"wsdaemon_{name}", frozenset(labels.items())


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0", "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"])
def test_the_page_is_what_prometheus_reads(accept: str) -> None:
    with Loop() as loop:
        answer = page(loop, accept)
    openmetrics = "openmetrics" in accept
    assert answer.status == 200
    assert answer.content_type.startswith("application/openmetrics-text" if openmetrics else "text/plain; version=0.0.4")
    found = samples(answer.body.decode(), parse_openmetrics if openmetrics else parse)
    place = {"mount": "/chat", "listener": "here"}
    expected = {
        key("connections", **place): 1,
        key("file_stale", source="[auth:staff] file"): 1,
        key("file_failures_total", source="[auth:staff] file"): 3,
        key("connections_opened_total", **place): 1,
        key("received_messages_total", **place): 1,
        key("sent_messages_total", **place): 2,
        key("received_bytes_total", **place): 3,
        key("sent_bytes_total", **place): 4,
        key("backlog_bytes", **place): 5,
        key("accepted_total", listener="here"): 7,
        key("crowded_out_total", listener="here"): 1,
        key("handshakes", listener="here"): 2,
        key("refused_total", listener="here", mount="/chat", reason="origin"): 3,
        key("refused_total", listener="here", mount="", reason="path"): 1,
        key("certificate_expiry_seconds", listener="here", certificate="/etc/www.pem"): 2 * 86400,
        key("certificate_expiry_seconds", listener="here", certificate="/etc/old.pem"): -86400,
        key("certificate_expiry_days", listener="here", certificate="/etc/www.pem"): 2,
        key("certificate_expiry_days", listener="here", certificate="/etc/old.pem"): -1,
        key("rooms", mount="/chat"): 4,
        key("room_members", mount="/chat"): 9,
        key("ready"): 1,
        key("connections_limit"): 100,
        key("info", version="1", frames="compiled"): 1,
        key("loop_latency_seconds_count"): 0,
        key("ping_round_trip_seconds_bucket", le="+Inf"): 0,
    }
    assert {one: found[one] for one in expected} == expected
    assert any(name == "process_open_fds" for name, _ in found)


@pytest.mark.parametrize("version", ["q", "1.x", "\N{ARABIC-INDIC DIGIT ONE}.0"])
def test_a_version_that_is_none_is_as_good_as_no_wish(version: str) -> None:
    """The library of Prometheus raises for it, or puts it into the answer's Content-Type."""
    with Loop() as loop:
        answer = page(loop, f"application/openmetrics-text;version={version}")
    assert answer.content_type.startswith("text/plain; version=0.0.4")


def test_reasons_have_a_bound() -> None:
    with Loop() as loop:
        answer = page(loop, listener=Listener(gate=Gate({"/chat": {f"reason{number}": 1 for number in range(MAX_REASONS + 50)}})))
    found = samples(answer.body.decode())
    assert sum(name == "wsdaemon_refused_total" for name, _ in found) == MAX_REASONS + 1
    assert found[key("refused_total", listener="here", mount="/chat", reason="other")] == 50


def test_closes_are_shown_by_code_and_by_whom() -> None:
    totals = Totals()
    ended = connection(FakeWire())
    ended._ended(1001, "", "client")
    totals.closed(ended, FakeWire(5).counts())
    with Loop() as loop:
        found = samples(page(loop, totals=totals).body.decode())
    assert found[key("connections_closed_total", mount="/chat", listener="here", code="1001", by="client")] == 1
    assert found[key("connections_opened_total", mount="/chat", listener="here")] == 2
    assert found[key("received_messages_total", mount="/chat", listener="here")] == 6
