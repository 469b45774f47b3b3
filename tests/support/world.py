"""A listener with mounts of all kinds, in memory, and the outcome of a client's story there."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import tests.support.mounted_classes as mounted_classes
from tests.support.fakes import LOCAL, PEER, READERS, App, House, Loop, Transport, Watcher, server_frames
from tests.support.fuzzing import Budget
from tests.support.gates import make_gate
from tests.support.streams import DRAIN, GONE, STUCK, Step, Story
from wsdaemon.apps.echo import EchoApp
from wsdaemon.core.connection import Connection
from wsdaemon.core.registry import Count
from wsdaemon.core.routing import Routes
from wsdaemon.edge.arrival import Arrival
from wsdaemon.edge.auth.contract import Candidate, Denied, Identity
from wsdaemon.edge.candidate import Entrance
from wsdaemon.edge.forwarded import Networks
from wsdaemon.edge.gate import Gate
from wsdaemon.wire.deflate.negotiation import DeflateOptions
from wsdaemon.wire.wire import Wire

PATIENCE = 120.0
"""Seconds after which nothing may be left of a client that is silent: more than all timeouts of a mount together."""

MAX_MESSAGE = 1000
MORE = 256 * 1024


class Boom(Exception):
    """The exception of the app at /raising."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The traffic and the end of a client, as the world saw them. They must be the same with each frame reader."""

    sent: bytes = field(repr=False)
    messages: list[str | bytes]
    ends: list[tuple[int, str]]
    refused: dict[str, int]
    ended: list[tuple[int | None, str, str]]
    failures: list[str]
    mounts: list[str]


def _echo(connection: Connection, message: str | bytes) -> Awaitable[object] | None:
    return connection.send(message)


def _raise(connection: Connection, message: str | bytes) -> Awaitable[object] | None:
    if message == "boom":
        raise Boom
    return None


def _wait(connection: Connection, message: str | bytes) -> Awaitable[object]:
    return _answer_late(connection, message)


async def _answer_late(connection: Connection, message: str | bytes) -> None:
    await asyncio.sleep(len(message) % 3 * 0.01)
    if message == "boom":
        raise Boom
    await connection.send(message)


class Asking:
    """Finds out who a client is, and takes its time."""

    def authenticate(self, request: Candidate) -> Awaitable[Identity | None]:
        return self._find_out(request)

    async def _find_out(self, request: Candidate) -> Identity | None:
        await asyncio.sleep(0.05)
        if b"=" in request.head.query_string:
            raise Denied("bad_token")
        return Identity(name="ada", method="fuzz")

    def offered(self, subprotocols: tuple[str, ...]) -> tuple[str, ...]:
        return tuple([name for name in subprotocols if not name.startswith("token.")])


class World:
    """One listener on one frame reader."""

    def __init__(self, loop: Loop, reader: str) -> None:
        self.loop = loop
        self.house = House(loop, reader)
        self.budget = Budget()
        frames, _ = READERS[reader]
        counted = self.budget.counted
        self.frames = replace(frames, take=counted(frames.take), begin=counted(frames.begin), send=lambda number, data: 0)
        self.wheel = self.house.wheel()
        self.watcher = Watcher()
        self.apps: list[App] = []
        self.counts: list[Count] = [Count()]
        self.left: list[Arrival] = []
        self.routes = Routes(list(self._mounts()))
        self.gates = {secure: self._gate(secure) for secure in (False, True)}

    def _mounts(self) -> Iterator[tuple[str, Entrance]]:
        deflate = DeflateOptions(threshold=100)
        small = {"max_message": MAX_MESSAGE, "max_fragments": 20, "deflate": deflate}
        large = {"max_message": MORE, "deflate": DeflateOptions(window_bits=15, memory_level=8, threshold=0)}
        yield self._mount("/", self._app(_echo), subprotocols=("b", "c"), **small)
        yield self._mount("/echo", EchoApp(), **large)
        yield self._mount("/text", self._app(), send_backlog=2000, **small)
        yield self._mount("/slow", self._app(_wait), send_backlog=5000, idle_timeout=40.0, **small)
        yield self._mount("/raising", self._app(_raise), lifetime=50.0, **small)
        rates = {"messages_per_second": 5.0, "bytes_per_second": 5000.0, "control_frames_per_second": 3.0}
        yield self._mount("/rated", EchoApp(), max_message=MORE, **rates)
        yield self._mount("/latest", self._app(_echo), slow_client="latest", send_backlog=3000, over_rate="close", messages_per_second=50.0)
        yield self._mount("/asked", self._app(_echo), chain=Asking(), **small)
        yield self._mount("/mounted", None, mounted=mounted_classes.Echo, **small)

    def _app(self, received: Any = None) -> App:
        app = App(received)
        self.apps.append(app)
        return app

    def _mount(self, path: str, app: Any, *, chain: Any = None, mounted: Any = None, **options: Any) -> tuple[str, Entrance]:
        made: Any = self.house.make_wires(app, self.watcher, mounted, frames=self.frames, **options)
        protocol = made.protocols.factory.protocol
        protocol.processData = _counted_method(protocol.processData, self.budget)
        count = Count()
        self.counts.append(count)
        return path, Entrance(path, made, count, options.get("subprotocols", ()), chain=chain)

    def _gate(self, secure: bool) -> Gate:
        return make_gate(
            listener="here", secure=secure, routes=self.routes, counts=(self.counts[0],), wheel=self.wheel, handshake_timeout=10.0,
            retry_after=5.0, trusted=Networks.parse("192.0.2.0/24, 10.0.0.0/8"),
        )  # fmt: skip

    @property
    def gate(self) -> Gate:
        return self.gates[False]

    def gone(self, arrival: Any) -> None:
        self.left.append(arrival)

    def again(self, arrival: Any) -> None:
        raise AssertionError("no request without an upgrade is answered here")

    # -- a client

    def live(self, story: Story) -> Outcome:
        """A client's life, up to the end of its connection, and its outcome."""
        secure, steps = story
        self.budget.set(500 + 3 * sum(len(step) for step in steps if isinstance(step, bytes)))
        gate = self.gates[secure]
        before = dict(gate.refused)
        transport = Transport(self.loop)
        arrival = Arrival(gate, self, PEER, LOCAL, -1 if secure else 7)
        transport.protocol = arrival
        arrival.connection_made(transport)  # type: ignore[arg-type]
        for step in steps:
            self._do(transport, step)
        self.loop.settle()
        self._end(transport, arrival)
        refused = {reason: count - before.get(reason, 0) for reason, count in gate.refused.items() if count != before.get(reason, 0)}
        return self._outcome(b"".join(transport.writes), refused)

    def _do(self, transport: Transport, step: Step) -> None:
        if isinstance(step, bytes):
            if not transport.lost:
                transport.receive(step)
                if len(step) % 2:  # as often as not the loop turns between two reads
                    self.loop.settle()
        elif isinstance(step, int):
            self.loop.advance(step / 1000)
        elif step == STUCK:
            transport.stuck = True
        elif step == DRAIN:
            transport.drain()
        elif step == GONE:
            transport.lose(ConnectionResetError())

    def _end(self, transport: Transport, arrival: Arrival) -> None:
        """The client says no more, and reads to the end. Nothing of it may stay."""
        transport.drain()
        self.loop.advance(PATIENCE)
        assert transport.lost, "a silent client is still there"
        assert self.left == [arrival], "an arrival leaves exactly once"
        assert [count.now for count in self.counts] == [0] * len(self.counts), "a place was not given back"
        assert len(self.wheel) == 0, "a timer is left"
        assert self.house.timer_failures == [], self.house.timer_failures
        assert self.loop.problems == [], self.loop.problems

    def _outcome(self, sent: bytes, refused: dict[str, int]) -> Outcome:
        watcher, apps = self.watcher, self.apps
        opened = watcher.opened_ones
        assert watcher.closed_ones == opened, "who was opened is closed, once"
        assert [connection for app in apps for connection in app.connections] in (opened, []), "the app saw another connection"
        ends = [end for app in apps for end in app.ends]
        assert len(ends) == sum(len(app.connections) for app in apps), "a session is closed exactly once"
        for doing, error in watcher.failures:
            assert isinstance(error, Boom) and doing == "receiving a message", f"{doing}: {error!r}"
        outcome = Outcome(
            sent, [message for app in apps for message in app.messages], ends, refused,
            [(each.close_code, each.close_reason, each.closed_by) for each in opened], [doing for doing, _ in watcher.failures],
            [each.handshake.mount for each in opened],
        )  # fmt: skip
        check_sent(sent, bool(opened))
        self._forget()
        return outcome

    def _forget(self) -> None:
        self.left.clear()
        for one in (self.watcher.opened_ones, self.watcher.closed_ones, self.watcher.failures):
            one.clear()
        for app in self.apps:
            for part in (app.connections, app.messages, app.ends, app.events):
                part.clear()


def _counted_method(method: Any, budget: Budget) -> Any:
    def call(self: Any) -> Any:
        budget.spend()
        return method(self)

    return call


def check_sent(sent: bytes, opened: bool) -> None:
    """The client got nothing, or an error page, or 101 and whole frames, the last of which may be a Close frame."""
    if not sent:
        assert not opened
        return
    head, empty_line, rest = sent.partition(b"\r\n\r\n")
    assert empty_line
    status = int(head.split(b" ", 2)[1])
    assert opened == (status == 101)
    assert status in (101, 400, 401, 404, 405, 408, 414, 426, 431, 503, 505), head
    if opened:
        opcodes = [one.opcode for one in server_frames(rest)]
        assert 8 not in opcodes[:-1], "something follows a Close frame"


@contextmanager
def world(reader: str) -> Iterator[World]:
    with Loop() as loop:
        made = World(loop, reader)
        yield made
        loop.settle()
        assert loop.problems == [], loop.problems


def lives(reader: str, stories: list[Story]) -> list[Outcome]:
    """The outcomes of the clients, one after the other, in one world, which must not remember them."""
    before = {id(one) for one in remains()}  # of a failure that is not forgotten yet
    # Autobahn's pings of a mounted class carry the time, in which the readers must not differ.
    with world(reader) as made, patch("autobahn.websocket.protocol.time.time_ns", return_value=0):
        outcomes = [made.live(story) for story in stories]
        gc.collect()
        kept = [one for one in remains() if id(one) not in before]
        if kept:
            raise AssertionError(f"{kept[0]!r} is still referred to by {[type(one) for one in gc.get_referrers(kept[0])]}")
    return outcomes


def remains() -> list[Any]:
    """The objects of connections that are in memory."""
    return [one for one in gc.get_objects() if issubclass(type(one), (Arrival, Connection, Wire))]
