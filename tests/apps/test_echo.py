"""apps/echo.py: every message back to its sender."""

from __future__ import annotations

import pytest

from tests.support.fakes import Frame, House, binary, close, text
from wsdaemon.apps.echo import EchoApp
from wsdaemon.core.contract import PayloadSession
from wsdaemon.wire.frames import TEXT

pytestmark = pytest.mark.readers()


def test_text_comes_back_as_text_and_binary_as_binary(made: House) -> None:
    client = made.make_wire(EchoApp())
    client.send(text("grün"), binary(b"\xff\x00"), text(""))
    assert client.frames() == [Frame(1, "grün".encode()), Frame(2, b"\xff\x00"), Frame(1, b"")]


def test_text_is_not_decoded(made: House) -> None:
    """The session takes payloads as bytes, so no str is made that the app does not need."""
    client = made.make_wire(EchoApp())
    assert isinstance(client.wire.session, PayloadSession)
    assert not client.reader.flags & TEXT


def test_a_client_that_does_not_read_is_not_read_either(made: House) -> None:
    client = made.make_wire(EchoApp(), send_backlog=1 << 30)
    client.transport.stuck = True
    for _ in range(50):
        client.send(binary(bytes(50_000)))
    assert not client.transport.reading
    client.transport.drain()
    made.loop.settle()
    assert client.transport.reading
    assert client.reader.messages_in == client.writer.messages_out == 50


def test_messages_behind_a_close_frame_are_dropped(made: House) -> None:
    client = made.make_wire(EchoApp())
    client.send(text("1"), close(), text("2"))
    made.loop.settle()
    assert [answer.opcode for answer in client.frames()] == [1, 8]
    assert client.watcher.failures == []


def test_one_app_serves_many(made: House) -> None:
    app = EchoApp()
    clients = [made.make_wire(app) for _ in range(3)]
    for number, client in enumerate(clients):
        client.send(text(str(number)))
    assert [client.frames() for client in clients] == [[Frame(1, str(number).encode())] for number in range(3)]
