"""Rooms without a wire: an app on a loop that stands still, and clients that see messages instead of frames."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from tests.support.fakes import PEER, Loop
from wsdaemon.apps.rooms import SUBPROTOCOL, RoomsApp, RoomsRules
from wsdaemon.apps.rooms.plain import PlainSession
from wsdaemon.apps.rooms.subprotocol import JsonSession
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import BrokerMaker
from wsdaemon.brokers.memory import MemoryBroker
from wsdaemon.core.background import Background
from wsdaemon.core.connection import Connection
from wsdaemon.core.handshake import Handshake, Peer
from wsdaemon.core.identity import Identity
from wsdaemon.core.threads import ThreadCalls
from wsdaemon.core.wire_halves import Counts

Json = dict[str, Any]


class FakePrepared:
    def __init__(self, payload: bytes, text: bool, key: object) -> None:
        self.payload = payload
        self.text = text
        self.key = key
        self.size = len(payload)


class FakeWire:
    """The messages that a session sends. `congested`: the client does not read. `queued`: nor does its kernel take anything."""

    def __init__(self) -> None:
        self.writer = self.reader = self
        self.many = False
        self.live = True
        self.messages_in = self.messages_out = self.bytes_in = self.bytes_out = 0
        self.congested = self.queued = False
        self.sent: list[str | bytes] = []
        self.prepared: list[FakePrepared] = []
        self.writes = 0
        self.background = Background()
        self.close_calls: list[tuple[int, str]] = []

    def put(self, payload: bytes, text: bool) -> None:
        self.sent.append(payload.decode() if text else payload)

    def send_payload(self, payload: bytes, text: bool) -> Awaitable[None] | None:
        assert self.live
        self.put(payload, text)
        return None

    def send_at_once(self, payload: bytes, text: bool) -> Awaitable[None] | None:
        return self.send_payload(payload, text)

    def prepare(self, payload: bytes, text: bool, key: object = None) -> FakePrepared:
        return FakePrepared(payload, text, key)

    def send_prepared(self, prepared: Any) -> None:
        self.prepared.append(prepared)
        self.put(prepared.payload, prepared.text)

    def close(self, code: int, reason: str) -> None:
        if self.live:
            self.live = False
            self.close_calls.append((code, reason))

    def abort(self) -> None:
        self.live = False

    def unsent(self) -> int:
        return 0

    @property
    def calls(self) -> ThreadCalls:
        raise AssertionError("rooms are on the loop's thread")

    def broadcast(self, message: Any, where: Any) -> None:
        raise AssertionError("rooms publish")

    def counts(self) -> Counts:
        return Counts(0, len(self.sent), 0, 0)


def send_to_all(wires: Sequence[Any], messages: Sequence[Any]) -> None:
    for wire in wires:
        if wire.live:
            wire.writes += 1
            for message in messages:
                wire.send_prepared(message)


class Seat:
    """One client's place in the app."""

    def __init__(self, hall: Hall, handshake: Handshake, number: str, congested: bool = False) -> None:
        self.loop = hall.loop
        self.wire = FakeWire()
        self.wire.congested = congested
        self.connection = Connection(self.wire, handshake, number)
        self.waiting: Awaitable[object] | None = None
        self.session: PlainSession | JsonSession = hall.app.open(self.connection, handshake)
        self._take = self.session.received_payload  # as the wire does: looked up once
        self._ended = False

    @property
    def id(self) -> str:
        return self.connection.id

    def send(self, message: str | bytes) -> None:
        """One message, done with when this returns, unless the app makes the client wait."""
        self.begin(message)
        self.loop.settle()

    def begin(self, message: str | bytes) -> None:
        """One message, of which the app does as much as it does at once."""
        assert self.waiting is None, "the client is not read"
        payload = message.encode() if isinstance(message, str) else message
        result = self._take(payload, isinstance(message, str))
        if result is not None:
            task = self.loop.create_task(self._wait(result))
            self.waiting = task
            task.add_done_callback(self._waited)

    async def _wait(self, result: Awaitable[object]) -> None:
        await result

    def _waited(self, task: Any) -> None:
        self.waiting = None
        task.result()

    def ask(self, type: str, **fields: Any) -> Json:
        """A request of the subprotocol; the answer, which is the last thing that came."""
        before = len(self.wire.sent)
        self.send(json.dumps({"type": type, **fields}))
        answers = [event for event in self.events[before:] if event["type"] not in ("message", "joined", "left")]
        [answer] = answers
        return answer

    @property
    def sent(self) -> list[str | bytes]:
        """The client's messages, when the loop has come to rest."""
        self.loop.settle()
        return self.wire.sent

    def take(self) -> list[str | bytes]:
        """The messages since the last call."""
        sent, self.wire.sent = self.sent, []
        return sent

    @property
    def events(self) -> list[Json]:
        return [json.loads(message) for message in self.sent]

    def take_events(self) -> list[Json]:
        return [json.loads(message) for message in self.take()]

    @property
    def closed(self) -> tuple[int, str] | None:
        """How the app closed it, if it did."""
        self.loop.settle()
        return self.wire.close_calls[0] if self.wire.close_calls else None

    def read(self) -> None:
        """A client that did not read does so now."""
        self.wire.congested = self.wire.queued = False
        self.connection._wake_waiters()

    def drop(self) -> None:
        """The connection is gone."""
        self.wire.live = False
        if not self._ended:
            self._ended = True
            self.connection._ended(1006, "", "network")
            self.session.closed(1006, "")


def in_memory(**limits: Any) -> BrokerMaker:
    """Makes brokers in memory."""
    return partial(MemoryBroker, Limits(**limits))


def memory_of(app: RoomsApp) -> MemoryBroker:
    """The broker of an app that keeps its rooms in memory."""
    broker = app.rooms.broker
    assert isinstance(broker, MemoryBroker)
    return broker


class Hall:
    """One rooms app and its clients."""

    def __init__(
        self, loop: Loop, policy: Mapping[str, Any], limits: Mapping[str, Any], hooks: object, send: Callable[..., None],
        make_broker: BrokerMaker | None = None,
    ) -> None:  # fmt: skip
        self.loop = loop
        self.now = 1000.0
        self.failures: list[tuple[str, str, str]] = []
        self.app = RoomsApp(
            RoomsRules(**{"parameters": ("room",), **policy}), make_broker or in_memory(**{"inline": 0, **limits}), send,
            self._failed, hooks, clock=lambda: self.now,
        )  # fmt: skip
        self.app.rooms.loop = loop
        self._number = 0

    @property
    def memory(self) -> MemoryBroker:
        return memory_of(self.app)

    def advance(self, seconds: float) -> None:
        """Let time pass, for timers and for the app's own clock."""
        self.now += seconds
        self.loop.advance(seconds)

    def _failed(self, connection: Connection, doing: str, error: BaseException) -> None:
        self.failures.append((connection.id, doing, str(error)))

    def seat(
        self, room: str = "lobby", query: str = "", who: str | None = None, subprotocol: str | None = None, congested: bool = False,
        peer: Peer = PEER,
    ) -> Seat:  # fmt: skip
        self._number += 1
        identity = None if who is None else Identity(who, "jwt:test", {"secret": 1})
        handshake = Handshake(
            target="/", path="/", raw_path=b"/", query_string=query.encode(), peer=peer, subprotocol=subprotocol,
            identity=identity, params={"room": room} if self.app.rooms.rules.parameters else {},
        )  # fmt: skip
        return Seat(self, handshake, f"m{self._number}", congested)

    def json(self, room: str = "lobby", who: str | None = None, peer: Peer = PEER) -> Seat:
        return self.seat(room, who=who, subprotocol=SUBPROTOCOL, peer=peer)


@contextmanager
def hall(
    *, hooks: object = None, send: Callable[..., None] = send_to_all, policy: Mapping[str, Any] | None = None, **limits: Any
) -> Iterator[Hall]:  # fmt: skip
    """An app whose clock stands still. `policy`: RoomsRules's fields; `limits`: Limits'."""
    with Loop() as loop:
        made = Hall(loop, policy or {}, limits, hooks, send)
        yield made
        loop.settle()
        assert loop.problems == []
