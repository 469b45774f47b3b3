"""Autobahn's client protocol in a wire: pings, and the end of a closing handshake."""

from __future__ import annotations

from tests.support.fake_frames import frame
from tests.support.fakes import house
from tests.wire.test_client import End
from wsdaemon.wire.autobahn.client_stage import DROP_SECONDS


def test_pings_are_masked() -> None:
    with house() as here:
        client = End(here, "python", ping_interval="5s")
        here.loop.advance(5.1)
        assert client.sent()[:2] == b"\x89\x84"


def test_a_server_has_a_second_to_end_tcp_after_the_handshake() -> None:
    with house() as here:
        client = End(here, "python")
        client.wire.close(1000, "")
        client.transport.receive(frame(8, b"\x03\xe8", mask=None))
        here.loop.advance(DROP_SECONDS - 0.1)
        assert client.session.ends == []
        here.loop.advance(0.2)
        assert client.session.ends == [(1000, "")]
        assert client.transport.closing
        assert not client.transport.aborted


def test_a_server_that_does_not_answer_a_close_frame_is_dropped() -> None:
    with house() as here:
        client = End(here, "python", close_timeout="2s")
        client.wire.close(4000, "go")
        here.loop.advance(2.1)
        assert client.session.ends == [(4000, "go")]
        assert client.transport.aborted


def test_nothing_is_kept_in_the_protocol_of_an_idle_client() -> None:
    with house() as here:
        assert set(vars(End(here, "python").wire.protocol)) == {"_wsdaemon_wire", "state"}
