"""wire/autobahn/slim.py: the Autobahn protocol of our own apps."""

from __future__ import annotations

import pytest

from tests.support.fakes import App, Frame, House, close, frame, text
from wsdaemon.core.histogram import Histogram
from wsdaemon.wire.autobahn.slim import PING, PING_FRAME

pytestmark = pytest.mark.readers()


def test_pings_are_answered_until_the_connection_closes(made: House) -> None:
    client = made.make_wire(App())
    client.send(frame(9, b"1"), frame(9, b"2" * 125))
    assert client.frames() == [Frame(10, b"1"), Frame(10, b"2" * 125)]
    client.connection.close()
    client.frames()
    client.send(frame(9, b"3"))
    assert client.frames() == []


def test_only_the_answer_to_our_ping_is_timed(made: House) -> None:
    trips = Histogram((1.0,))
    client = made.make_wire(App(), ping_interval=25.0, round_trips=trips)
    made.loop.advance(25.1)
    assert client.sent == PING_FRAME
    client.send(frame(10, b"other"))
    assert sum(trips.counts) == 0
    client.send(frame(10, PING), frame(10, PING))
    assert sum(trips.counts) == 1


def test_fragments_reach_the_app_without_observers(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    client.send(frame(1, b"a", fin=False), frame(0, b"b"), text("c"))
    assert app.messages == ["ab", "c"]


def test_a_protocol_holds_its_wire_and_its_state_and_has_no_transport(made: House) -> None:
    client = made.make_wire(App())
    assert set(vars(client.protocol)) == {"_wsdaemon_wire", "state"}
    assert client.protocol.transport is None
    client.send(close(1000))
    made.loop.settle()
    assert client.ended == (1000, "", "client")
    assert client.protocol.factory.countConnections == 0
