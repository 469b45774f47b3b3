"""apps/bridge/stream.py: both ends of a bridge, in memory: backpressure both ways, and each way to end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fakes import Client, House, Transport, binary, close, text
from wsdaemon.apps.bridge.stream import END_SECONDS, HIGH_WATER_BYTES, TargetStream
from wsdaemon.core.connection import Connection
from wsdaemon.core.handshake import Handshake


class Stream(Transport):
    """The transport to a target."""

    can_half_close = True

    def can_write_eof(self) -> bool:
        return self.can_half_close

    def is_closing(self) -> bool:
        return self.closing

    @property
    def sent(self) -> bytes:
        return b"".join(self.writes)


class Bridge:
    """An app with one link, as its admit() makes it."""

    def __init__(self, made: House, early: bytes = b"") -> None:
        self.link = TargetStream(made.loop)
        self.stream = Stream(made.loop)
        self.stream.set_protocol(self.link)
        self.link.connection_made(self.stream)  # type: ignore[arg-type]
        if early:
            self.link.data_received(early)

    def open(self, connection: Connection, handshake: Handshake) -> Any:
        return self.link.open(connection, handshake)


def connect(made: House, bridge: Bridge, **options: Any) -> Client:
    return made.make_wire(bridge, ping_interval=0.0, compression=False, **options)


def payloads(client: Client) -> list[bytes]:
    return [frame.payload for frame in client.frames() if frame.opcode == 2]


def test_bytes_in_both_directions(made: House) -> None:
    bridge = Bridge(made)
    assert not bridge.stream.reading
    client = connect(made, bridge)
    made.loop.settle()
    bridge.stream.receive(b"hello")
    made.loop.settle()
    assert payloads(client) == [b"hello"]
    client.send(binary(b"a"), text("ä"))
    assert bridge.stream.sent == b"a\xc3\xa4"


def test_bytes_before_the_connection_is_open_are_kept(made: House) -> None:
    bridge = Bridge(made, early=b"greeting")
    client = connect(made, bridge)
    made.loop.settle()
    assert payloads(client) == [b"greeting"]


def test_a_slow_target_stops_its_client(made: House) -> None:
    bridge = Bridge(made)
    client = connect(made, bridge)
    bridge.stream.stuck = True
    client.send(binary(bytes(HIGH_WATER_BYTES + 1)))
    client.send(*[binary(bytes(1000))] * 10)
    made.loop.settle()
    assert not client.transport.reading
    assert bridge.stream.unsent == HIGH_WATER_BYTES + 1
    bridge.stream.drain()
    made.loop.settle()
    assert client.transport.reading
    assert len(bridge.stream.sent) == HIGH_WATER_BYTES + 1 + 10_000


def test_a_slow_client_stops_its_target(made: House) -> None:
    bridge = Bridge(made)
    client = connect(made, bridge)
    made.loop.settle()
    client.transport.stuck = True
    for _ in range(10):
        bridge.stream.receive(bytes(100_000))
        made.loop.settle()
    assert not bridge.stream.reading
    assert client.writer.unsent() < 400_000
    client.transport.drain()
    made.loop.settle()
    assert bridge.stream.reading
    assert sum(map(len, payloads(client))) == 1_000_000


def test_the_client_s_end_is_told_to_the_target_after_its_last_bytes(made: House) -> None:
    bridge = Bridge(made)
    client = connect(made, bridge)
    client.send(binary(b"last"), close(1000))
    made.loop.settle()
    assert bridge.stream.sent == b"last"
    assert bridge.stream.eof_written
    assert not bridge.stream.closing
    bridge.stream.receive(b"dropped")
    assert bridge.link.eof_received() is False
    bridge.stream.lose()
    assert bridge.link._timer is not None
    assert bridge.link._timer.cancelled()


def test_a_target_that_does_not_end_is_dropped(made: House) -> None:
    bridge = Bridge(made)
    client = connect(made, bridge)
    client.send(close(1000))
    made.loop.advance(END_SECONDS + 0.1)
    assert bridge.stream.aborted


def test_a_client_that_leaves_while_its_target_does_not_read(made: House) -> None:
    bridge = Bridge(made)
    client = connect(made, bridge)
    bridge.stream.stuck = True
    client.send(binary(bytes(HIGH_WATER_BYTES + 1)))
    client.vanish()
    made.loop.advance(END_SECONDS + 1)
    assert bridge.stream.aborted


@pytest.mark.parametrize("half_closes", [True, False])
def test_the_target_s_end_closes_the_client_with_1000(made: House, half_closes: bool) -> None:
    bridge = Bridge(made)
    bridge.stream.can_half_close = half_closes
    client = connect(made, bridge)
    made.loop.settle()
    bridge.stream.receive(b"bye")
    assert bridge.link.eof_received() is half_closes
    if not half_closes:
        bridge.stream.lose()
    made.loop.settle()
    assert [frame.opcode for frame in client.frames()] == [2, 8]
    client.answer_close()
    assert client.ended == (1000, "", "server")
    assert bridge.stream.closing


def test_a_target_that_is_lost_closes_the_client_with_1011(made: House) -> None:
    bridge = Bridge(made)
    client = connect(made, bridge)
    bridge.stream.lose(ConnectionResetError())
    client.send(binary(b"late"))
    client.answer_close()
    assert client.ended == (1011, "the connection to the target is lost", "server")


def test_a_target_that_is_lost_before_the_connection_is_open(made: House) -> None:
    bridge = Bridge(made)
    bridge.stream.lose()
    client = connect(made, bridge)
    client.answer_close()
    assert client.ended[0] == 1011


def test_mqtt_has_no_text(made: House) -> None:
    bridge = Bridge(made)
    client = connect(made, bridge, subprotocols=("mqtt",), opening=opening("mqtt"))
    client.send(text("x"))
    assert client.protocol.localCloseCode == 1003
    assert bridge.stream.sent == b""


def opening(subprotocol: str) -> bytes:
    from tests.support.fakes import request

    return request(sec_websocket_protocol=subprotocol)


def test_abort(made: House) -> None:
    bridge = Bridge(made)
    bridge.link.abort()
    assert bridge.stream.aborted
    made.loop.settle()
    bridge.link.abort()


@pytest.mark.parametrize(("error", "code"), [(None, 1000), (ConnectionResetError(), 1011)])
@pytest.mark.parametrize("half_closes", [True, False])
def test_a_target_that_greets_and_ends_before_the_connection_is_open(
    made: House, half_closes: bool, error: Exception | None, code: int
) -> None:  # fmt: skip
    bridge = Bridge(made, early=b"greeting")
    if half_closes:
        bridge.link.eof_received()
        code = 1000
    bridge.link.connection_lost(error)
    client = connect(made, bridge)
    made.loop.settle()
    frames = client.frames()
    assert [(frame.opcode, frame.payload[:2]) for frame in frames] == [(2, b"gr"), (8, code.to_bytes(2, "big"))]


def test_a_target_that_ends_its_half_before_the_connection_is_open(made: House) -> None:
    bridge = Bridge(made, early=b"greeting")
    assert bridge.link.eof_received()
    client = connect(made, bridge)
    made.loop.settle()
    assert [frame.opcode for frame in client.frames()] == [2, 8]
