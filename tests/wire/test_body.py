"""wire/body.py: a large payload comes straight into its message."""

from __future__ import annotations

import random

import pytest

from tests.support.fakes import READERS, App, Frame, binary, house, text
from wsdaemon.apps.echo import EchoApp
from wsdaemon.wire.body import BODY_BYTES, TAIL_BYTES, Body
from wsdaemon.wire.policy import HIGH_WATER_BYTES

LARGE = random.Random(1).randbytes(200_000)


@pytest.mark.parametrize("reader", [name for name, (_, fast) in READERS.items() if fast])
def test_a_large_payload_is_received_into_the_message(reader: str) -> None:
    with house(reader) as made:
        client = made.make_wire(EchoApp())
        data = binary(LARGE)
        client.send(data[:1000])
        assert isinstance(client.transport.protocol, Body)
        client.send(data[1000:])
        assert client.transport.protocol is client.reader
        assert client.frames() == [Frame(2, LARGE)]


@pytest.mark.parametrize("reader", [name for name, (_, fast) in READERS.items() if fast])
@pytest.mark.parametrize("secure", [False, True])
def test_the_protocol_changes_while_a_large_payload_comes_over_tls_too(
    reader: str, secure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice: to the body, and back before its end."""
    with house(reader) as made:
        client = made.make_wire(EchoApp(), secure=secure)
        change, changes = client.transport.set_protocol, list[type]()

        def set_protocol(protocol: object) -> None:
            changes.append(type(protocol))
            change(protocol)

        monkeypatch.setattr(client.transport, "set_protocol", set_protocol)
        data = binary(LARGE) + text("next")
        client.send_each(*[data[start : start + 16 * 1024] for start in range(0, len(data), 16 * 1024)])
        assert client.frames() == [Frame(2, LARGE), Frame(1, b"next")]
        assert client.reader.bytes_in == len(data)
        assert changes == [Body, type(client.reader)]


@pytest.mark.parametrize("reader", [name for name, (_, fast) in READERS.items() if fast])
def test_pauses_of_writing_reach_the_wire_while_a_large_payload_comes(reader: str) -> None:
    with house(reader) as made:
        app = App()
        client = made.make_wire(app)
        client.send(binary(LARGE)[:1000])
        assert isinstance(client.transport.protocol, Body)
        client.transport.stuck = True
        app.connection.send(bytes(HIGH_WATER_BYTES + 1))
        made.loop.settle()
        assert client.writer.congested
        client.transport.drain()
        assert not client.writer.congested
        client.transport.protocol.eof_received()
        client.vanish()
        assert app.ends == [(1006, "connection lost without a Close frame")]


@pytest.mark.parametrize("reader", [name for name, (_, fast) in READERS.items() if fast])
def test_the_end_of_a_payload_comes_the_usual_way(reader: str) -> None:
    with house(reader) as made:
        client = made.make_wire(App())
        client.send(binary(bytes(BODY_BYTES + 500))[:400])
        body = client.transport.protocol
        assert isinstance(body, Body)
        assert len(body.get_buffer(-1)) == BODY_BYTES + 500 - (400 - 14) - TAIL_BYTES
