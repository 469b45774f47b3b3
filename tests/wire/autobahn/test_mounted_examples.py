"""wire/autobahn/mounted.py: Autobahn's own examples, and the old ways of calling its base classes."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.internet.interfaces import ITransport

import tests.support.autobahn_examples as examples
from tests.support.fakes import Client, Frame, House, binary, close, closing, frame, request, text
from tests.support.mounted_classes import Echo, Recording
from wsdaemon.wire.deflate.negotiation import DeflateOptions

pytestmark = pytest.mark.readers()


def texts(client: Client) -> list[str]:
    client.loop.settle()
    return [one.payload.decode() for one in client.frames() if one.opcode == 1]


@pytest.mark.parametrize("factory", [examples.BroadcastServerFactory, examples.BroadcastPreparedServerFactory])
@pytest.mark.parametrize("compressed", [False, True])
def test_broadcast(made: House, factory: Any, compressed: bool) -> None:
    wires = made.make_wires(None, mounted=examples.BroadcastServerProtocol, factory=factory, deflate=DeflateOptions())
    opening = request(sec_websocket_extensions="permessage-deflate") if compressed else request()
    clients = [made.connect(wires, opening) for _ in range(3)]
    clients[1].send(text("hello"))
    assert [texts(client) for client in clients] == [["hello from tcp4:192.0.2.7:50123"]] * 3
    made.loop.advance(2.0)
    assert [texts(client) for client in clients] == [["tick 2 from server", "tick 3 from server"]] * 3
    clients[2].vanish()
    clients[1].send(close(1000))
    made.loop.advance(1.0)
    assert texts(clients[0]) == ["tick 4 from server"]
    made_factory: Any = wires.protocols.factory
    assert made_factory.clients == [clients[0].protocol]
    assert clients[0].watcher.failures == []
    clients[0].writer.messages_out = 0
    clients[0].protocol.sendPreparedMessage(made_factory.prepareMessage(b"x"))
    assert clients[0].writer.messages_out == 1


def test_ping(made: House) -> None:
    client = made.make_wire(mounted=examples.PingServerProtocol, factory=examples.PingServerFactory, ping_interval=0.0)
    for count in range(1, 4):
        assert client.frames() == [Frame(9, b"")]
        client.send(frame(10, b""))
        factory = client.protocol.factory
        assert (factory.pingsSent, factory.pongsReceived) == ({client.protocol.peer: count}, {client.protocol.peer: count})
        made.loop.advance(1.0)
    client.send(close(1000))
    made.loop.advance(3.0)
    assert client.frames()[-1] == closing(1000)


def test_pings_of_the_daemon_end_in_on_auto_pong(made: House) -> None:
    client = made.make_wire(mounted=examples.KeepaliveProtocol, ping_interval=20.0, ping_timeout=5.0)
    for number in (1, 2):
        made.loop.advance(20.1)
        [ping] = client.frames()
        assert ping.opcode == 9
        client.send(frame(10, ping.payload))
        assert texts(client) == [f"pong {number} 12"]
    made.loop.advance(25.2)
    assert client.transport.aborted


@pytest.mark.parametrize("mounted", [examples.SlowSquareServerProtocol, examples.CoroutineSquareServerProtocol])
def test_slowsquare(made: House, mounted: Any) -> None:
    client = made.make_wire(mounted=mounted)
    client.send(text("2"), text("3"))
    made.loop.advance(1.0)
    assert texts(client) == ["4", "9"]
    client.send(text("6"))
    made.loop.settle()
    assert client.frames() == [closing(1000, "Exception raised: number too large")]
    assert client.watcher.failures == []


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_streaming(made: House) -> None:
    fragments = frame(2, b"a" * 7, fin=False), frame(0, b"b" * 8, fin=False), frame(0, b"c" * 5)
    client = made.make_wire(mounted=examples.MessageBasedHashServerProtocol)
    client.send(*fragments)
    assert texts(client) == [digest(b"a" * 7 + b"b" * 8 + b"c" * 5)]
    client = made.make_wire(mounted=examples.FrameBasedHashServerProtocol)
    client.send(*fragments)
    assert texts(client) == [digest(b"a" * 7), digest(b"a" * 7 + b"b" * 8), digest(b"a" * 7 + b"b" * 8 + b"c" * 5)]
    client = made.make_wire(mounted=examples.StreamingHashServerProtocol)
    client.send(*fragments)
    assert texts(client) == [digest(b"a" * 7 + b"b" * 3), digest(b"a" * 7 + b"b" * 8 + b"c" * 5)]


# -- overrides, bases, and what is true in each callback


class Shouting(WebSocketServerProtocol):
    """Overrides sendMessage, as classes do that count or encode what they send."""

    def sendMessage(self, payload: bytes, isBinary: bool = False, **options: Any) -> None:
        super().sendMessage(payload.upper(), isBinary, **options)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.sendMessage(payload, isBinary)
        WebSocketServerProtocol.sendMessage(self, b"base", isBinary)


def test_send_message_may_be_overridden_and_calls_its_base(made: House) -> None:
    client = made.make_wire(mounted=Shouting)
    client.send(text("x"))
    assert client.frames() == [Frame(1, b"X"), Frame(1, b"base")]
    assert client.writer.messages_out == 2
    client.writer.send_payload(b"ours", True)
    made.loop.settle()
    assert client.frames() == [Frame(1, b"ours")], "the Writer never calls sendMessage()"


WAYS = {
    "sendMessage": lambda protocol: protocol.sendMessage(b"0123456789"),
    "the base's": lambda protocol: WebSocketServerProtocol.sendMessage(protocol, b"0123456789"),
    "uncompressed": lambda protocol: protocol.sendMessage(b"0123456789", doNotCompress=True),
    "prepared": lambda protocol: protocol.sendPreparedMessage(protocol.factory.prepareMessage(b"0123456789")),
    "the base's prepared": lambda protocol: WebSocketServerProtocol.sendPreparedMessage(
        protocol, protocol.factory.prepareMessage(b"0123456789")
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_sending_meets_the_policy_for_slow_clients(made: House, way: str) -> None:
    client = made.make_wire(mounted=Recording, slow_client="drop_oldest", send_backlog=1000, ping_interval=0.0)
    client.transport.stuck = True
    for _ in range(100):
        WAYS[way](client.protocol)
        made.loop.settle()
    if way != "the base's prepared":  # that writes bytes, which cannot be dropped: they meet the bound of the backlog
        assert client.writer.live and client.writer.messages_out == 100
        assert client.wire.counts().dropped > 80
    assert client.writer.unsent() <= 1300


class Telling(WebSocketServerProtocol):
    """Notes in each callback what it sees of itself."""

    def note(self, where: str) -> None:
        self.seen = getattr(self, "seen", [])
        transport = ITransport.providedBy(self.transport)
        self.seen.append((where, self.state, self.wasClean, self.peer, transport, self.factory.isServer))

    def onConnect(self, request: Any) -> None:
        self.note("connect")

    def onOpen(self) -> None:
        self.note("open")

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.note("message")

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        self.note("close")

    def connectionLost(self, reason: Any) -> None:
        super().connectionLost(reason)
        self.note("lost")


def test_state_peer_transport_and_factory_are_true_in_every_callback(made: House) -> None:
    client = made.make_wire(mounted=Telling)
    client.send(text("x"), close(1000))
    made.loop.settle()
    always = ("tcp4:192.0.2.7:50123", True, True)
    states = WebSocketServerProtocol
    assert client.protocol.seen == [
        ("connect", states.STATE_CONNECTING, False, *always),
        ("open", states.STATE_OPEN, False, *always),
        ("message", states.STATE_OPEN, False, *always),
        ("close", states.STATE_CLOSED, True, *always),
        ("lost", states.STATE_CLOSED, True, *always),
    ]


OURS = ["close", "write", "open", "flush", "live", "native", "out", "reader", "writer", "wire", "deadlines", "heard", "held", "fragments"]


@pytest.mark.parametrize("name", OURS)
def test_no_name_is_forbidden_to_users(made: House, name: str) -> None:
    class Named(Echo):
        def onOpen(self) -> None:
            setattr(self, name, "mine")

    named = type("Method", (Named,), {f"my_{name}": lambda self: None})
    client = made.make_wire(mounted=named)
    client.send(frame(1, b"a", fin=False), frame(0, b"b"), frame(9, b"!"), text("x"))
    assert client.frames() == [Frame(1, b"ab"), Frame(10, b"!"), Frame(1, b"x")]
    assert getattr(client.protocol, name) == "mine"
    client.send(close(1000))
    made.loop.settle()
    assert client.ended == (1000, "", "client")
    assert client.watcher.failures == []


# -- pauses and cuts at every byte, also while Autobahn holds a part of a frame


STREAM = b"".join([text("one"), frame(1, b"tw", fin=False), frame(9, b"?"), frame(0, b"o"), binary(b"x" * 130), text("four"), close(3000)])


class Pausing(Recording):
    """Pauses its transport at each message."""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.events.append(payload)
        self.transport.pauseProducing()


@pytest.mark.parametrize("mounted", [Recording, Pausing])
def test_cuts_at_every_byte_with_pauses_change_nothing(made: House, mounted: Any) -> None:
    for cut in range(1, len(STREAM)):
        client = made.make_wire(mounted=mounted)
        for start, end in pairwise((0, cut, len(STREAM))):
            client.send(STREAM[start:end])
        for _ in range(6):
            client.protocol.transport.resumeProducing()
            made.loop.settle()
        messages = [event[0] if isinstance(event, tuple) else event for event in client.protocol.events[2:-1]]
        assert messages == [b"one", b"two", b"x" * 130, b"four"], cut
        assert client.frames() == [Frame(10, b"?"), closing(3000)]
        assert client.ended == (3000, "", "client")
