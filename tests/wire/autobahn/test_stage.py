"""wire/autobahn/stage.py and mounted.py: Autobahn's streaming API, and what a class finds around it."""

from __future__ import annotations

from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.protocol import WebSocketServerProtocol as Core
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from tests.support.fakes import House, binary, frame, text
from tests.support.mounted_classes import Echo, Recording
from wsdaemon.wire.autobahn.mounted import needs_autobahns_parser

pytestmark = pytest.mark.readers()


# -- the streaming API


class Streaming(WebSocketServerProtocol):
    def __init__(self) -> None:
        self.events: list[Any] = []

    def onMessageBegin(self, isBinary: bool) -> None:
        super().onMessageBegin(isBinary)
        self.events.append("begin")

    def onMessageFrameBegin(self, length: int) -> None:
        super().onMessageFrameBegin(length)
        self.events.append(length)

    def onMessageFrameData(self, payload: bytes) -> None:
        self.events.append(payload)

    def onMessageFrameEnd(self) -> None:
        self.events.append("frame end")

    def onMessageEnd(self) -> None:
        self.events.append("end")


def test_a_streaming_class_sees_every_frame(made: House) -> None:
    client = made.make_wire(mounted=Streaming)
    data = text("whole") + frame(2, b"ab", fin=False) + frame(0, b"cd")
    client.send(data[:8], data[8:])
    assert client.protocol.events == [
        "begin", 5, b"whole", "frame end", "end", "begin", 2, b"ab", "frame end", 2, b"cd", "frame end", "end",
    ]  # fmt: skip
    client.send(data[:8])
    assert client.protocol.events[-1] == b"wh", "it is given what there is of a frame"


def test_which_classes_take_part_in_parsing() -> None:
    assert not needs_autobahns_parser(WebSocketServerProtocol)
    assert not needs_autobahns_parser(Recording)
    assert needs_autobahns_parser(Streaming)


@pytest.mark.readers("python")
def test_the_frame_reader_serves_a_class_that_does_not_stream(made: House) -> None:
    assert made.make_wire(mounted=Echo).fast
    assert not made.make_wire(mounted=Streaming).fast


# -- what the class finds around it


@pytest.mark.readers("python")
def test_the_transport(made: House) -> None:
    client = made.make_wire(mounted=Recording)
    transport = client.protocol.transport
    peer, here = transport.getPeer(), transport.getHost()
    assert (peer.type, peer.host, peer.port) == ("TCP", "192.0.2.7", 50123)
    assert (here.host, here.port) == ("192.0.2.1", 8080)
    transport.loseConnection()
    made.loop.settle()
    assert client.protocol.events[-1][:2] == (False, 1006)


@pytest.mark.readers("python")
def test_the_factory(made: House) -> None:
    client = made.make_wire(mounted=Recording)
    assert client.protocol.factory.isServer
    assert isinstance(client.protocol, client.protocol.factory.protocol)


@implementer(IPushProducer)
class Producer:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


@pytest.mark.readers("python")
def test_a_producer_is_paused_while_the_client_is_slow(made: House) -> None:
    client = made.make_wire(mounted=Recording)
    producer = Producer()
    client.protocol.registerProducer(producer, True)
    client.transport.stuck = True
    client.protocol.sendMessage(bytes(200_000))
    made.loop.settle()
    assert producer.calls == ["pause"]
    client.transport.drain()
    assert producer.calls == ["pause", "resume"]
    client.protocol.unregisterProducer()
    client.vanish()


# -- what is set up


@pytest.mark.readers("python")
def test_fail_by_drop_and_web_status_are_off(made: House) -> None:
    """With them on, a client sees a reset without a close code, and anybody an open redirect."""
    protocol = made.make_wire(mounted=Recording).protocol
    assert protocol.failByDrop is False
    assert protocol.webStatus is False
    defaults = {name for name in Core.CONFIG_ATTRS if not hasattr(protocol.factory, name)}
    assert defaults <= {"logOctets", "logFrames", "trackTimings", "allowedOriginsPatterns"}


def test_limits_hold_for_mounted_classes(made: House) -> None:
    for mounted in (Recording, Streaming):
        client = made.make_wire(mounted=mounted, max_message=1000)
        client.send(binary(bytes(1001)))
        assert client.frames()[0].code == 1009
        client = made.make_wire(mounted=mounted)
        client.send(frame(1, b"\xff" * 4))
        assert client.frames()[0].code == 1007
