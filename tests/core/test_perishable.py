"""core/perishable.py: a slow client misses what it need not have, and the end of a connection is told."""

from __future__ import annotations

import pytest

from tests.support.fakes import App, Frame, House
from wsdaemon.core.closing import ConnectionClosed
from wsdaemon.core.connection import Connection
from wsdaemon.core.perishable import push


def test_a_slow_client_misses_messages_unless_they_are_for_all(made: House) -> None:
    client = made.make_wire(App(), ping_interval=0.0)
    assert push(client.connection, b"one")
    made.loop.settle()
    client.transport.stuck = True
    client.connection.send("x" * 1_000_000)
    made.loop.settle()
    assert push(client.connection, b"missed") and push(client.connection, b"two", True)
    client.transport.drain()
    made.loop.settle()
    assert [each for each in client.frames() if len(each.payload) < 9] == [Frame(1, b"one"), Frame(1, b"two")]


def test_a_connection_that_is_over_is_told_once_it_is_sent_to(made: House, monkeypatch: pytest.MonkeyPatch) -> None:
    client = made.make_wire(App(), ping_interval=0.0)

    def closed(connection: Connection, payload: bytes, text: bool) -> None:
        raise ConnectionClosed(1000, "")

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "send_payload", closed)
        assert not push(client.connection, b"one")
    client.connection.close(1000)
    assert push(client.connection, b"nothing is sent")
    assert [each.opcode for each in client.frames()] == [8]
    client.answer_close()
