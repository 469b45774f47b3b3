"""wire/transport.py: a transport of the loop, as a protocol written for Twisted sees it."""

from __future__ import annotations

from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import ITransport
from zope.interface.verify import verifyObject

from tests.support.fakes import Client, Frame, House
from wsdaemon.core.handshake import UNIX, Peer
from wsdaemon.wire.autobahn.transport import TwistedTransport, address


class Silent(WebSocketServerProtocol):
    """Says nothing."""


@pytest.fixture
def client(made: House) -> Client:
    return made.make_wire(mounted=Silent)


def transport(client: Client) -> TwistedTransport:
    found = client.protocol.transport
    assert isinstance(found, TwistedTransport)
    return found


class Producer:
    """Writes down what it is told. As a pull producer it has `pieces` to give."""

    def __init__(self, client: Client, pieces: int = 0) -> None:
        self.calls: list[str] = []
        self._client = client
        self._pieces = pieces

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")
        if self._pieces:
            self._pieces -= 1
            self._client.protocol.sendMessage(bytes(50_000), True)
            if not self._pieces:
                transport(self._client).unregisterProducer()

    def stopProducing(self) -> None:
        self.calls.append("stop")


def test_it_is_what_twisted_asks_for(client: Client) -> None:
    assert verifyObject(ITransport, transport(client))


@pytest.mark.parametrize(
    ("peer", "shown"),
    [
        (Peer("192.0.2.1", 80), IPv4Address("TCP", "192.0.2.1", 80)),
        (Peer("2001:db8::1", 80), IPv6Address("TCP", "2001:db8::1", 80)),
        (UNIX, UNIXAddress(None)),
        ("/run/ws.sock", UNIXAddress(b"/run/ws.sock")),
    ],
)
def test_addresses(peer: Any, shown: object) -> None:
    assert address(peer) == shown


def test_writes_keep_their_place_among_the_wires_own(client: Client) -> None:
    client.protocol.sendMessage(b"1")
    transport(client).write(b"\x81\x012")
    transport(client).writeSequence([b"\x81", b"\x01", b"3"])
    client.protocol.sendMessage(b"4")
    client.loop.settle()
    assert [answer.payload for answer in client.frames()] == [b"1", b"2", b"3", b"4"]


def test_losing_the_connection_sends_what_waits(client: Client) -> None:
    client.protocol.sendMessage(b"last")
    transport(client).loseConnection()
    assert transport(client).disconnecting
    assert client.frames() == [Frame(1, b"last")]
    client.loop.settle()
    assert client.transport.lost
    assert not client.transport.aborted
    assert client.count.now == 0
    transport(client).loseConnection()
    transport(client).abortConnection()


def test_aborting_the_connection(client: Client) -> None:
    transport(client).abortConnection()
    client.loop.settle()
    assert client.transport.aborted
    assert client.count.now == 0


def test_pausing_and_resuming_the_client(client: Client) -> None:
    transport(client).pauseProducing()
    assert not client.transport.reading
    transport(client).resumeProducing()
    assert client.transport.reading
    client.vanish()
    transport(client).pauseProducing()
    transport(client).resumeProducing()


def test_the_clients_certificate(client: Client) -> None:
    assert transport(client).getPeerCertificate() is None
    client.transport.extra["peercert"] = {"subject": ()}
    assert transport(client).getPeerCertificate() == {"subject": ()}
    client.vanish()
    assert transport(client).getPeerCertificate() is None


def test_options_of_the_socket_are_the_listeners(client: Client) -> None:
    transport(client).setTcpNoDelay(False)


def test_a_push_producer_is_paused_while_bytes_wait(client: Client) -> None:
    producer = Producer(client)
    transport(client).registerProducer(producer, True)
    client.transport.stuck = True
    client.protocol.sendMessage(bytes(200_000))
    client.protocol.sendMessage(bytes(200_000))
    client.loop.settle()
    assert producer.calls == ["pause"], "once, however much is written"
    client.transport.drain()
    assert producer.calls == ["pause", "resume"]


def test_a_pull_producer_is_asked_until_it_is_done(client: Client) -> None:
    """As a file that is sent: it is asked for the next piece when the last one has left."""
    producer = Producer(client, pieces=10)
    transport(client).registerProducer(producer, False)
    client.loop.settle()
    assert producer.calls == ["resume"] * 10
    assert len(client.frames()) == 10


def test_a_pull_producer_waits_for_a_slow_client(client: Client) -> None:
    producer = Producer(client, pieces=10)
    client.transport.stuck = True
    transport(client).registerProducer(producer, False)
    client.loop.settle()
    assert 1 <= len(producer.calls) < 5
    client.transport.drain()
    client.loop.settle()
    assert producer.calls == ["resume"] * 10


def test_one_producer_at_a_time(client: Client) -> None:
    transport(client).registerProducer(Producer(client), True)
    with pytest.raises(RuntimeError, match="a producer is registered already"):
        transport(client).registerProducer(Producer(client), True)
    transport(client).unregisterProducer()
    transport(client).registerProducer(Producer(client), True)


def test_a_producer_is_stopped_when_the_connection_is_lost(client: Client) -> None:
    producer, late = Producer(client), Producer(client)
    transport(client).registerProducer(producer, True)
    client.vanish()
    assert producer.calls == ["stop"]
    transport(client).registerProducer(late, True)
    assert late.calls == ["stop"]
