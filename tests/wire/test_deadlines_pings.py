"""wire/protocol.py: who is silent is pinged, and dropped when nothing comes back."""

from __future__ import annotations

import pytest

from tests.support.fakes import App, House, binary, frame, text
from wsdaemon.wire.deadlines import SIGN_OF_LIFE_BYTES

pytestmark = pytest.mark.readers()


def test_a_silent_client_is_pinged_and_then_dropped(made: House) -> None:
    app = App()
    client = made.make_wire(app, ping_interval=25.0, ping_timeout=10.0)
    made.loop.advance(24.9)
    assert client.sent == b""
    made.loop.advance(0.2)
    assert [answer.opcode for answer in client.frames()] == [9]
    made.loop.advance(9.8)
    assert not client.transport.closing
    made.loop.advance(0.3)
    assert client.transport.aborted
    assert client.ended == (1006, "WebSocket ping timeout (peer did not respond with pong in time)", "server")
    assert app.ends == [client.ended[:2]]


@pytest.mark.parametrize("answer", [frame(10, b"ping"), text("anything"), frame(9), binary(bytes(9000))[:SIGN_OF_LIFE_BYTES]])
def test_any_frame_or_a_part_of_a_long_one_shows_that_a_client_lives(made: House, answer: bytes) -> None:
    client = made.make_wire(App(), ping_interval=25.0, ping_timeout=10.0)
    for _ in range(4):
        made.loop.advance(25.1)
        client.send(answer)
        made.loop.advance(0.1)
    made.loop.advance(5)
    pings = client.sent.count(b"\x89\x04ping")
    assert pings == 4
    assert not client.transport.closing


@pytest.mark.parametrize(
    "data", [binary(bytes(9000)), frame(1, b"", fin=False) + frame(0, b"", fin=False) * 1000], ids=["payload", "fragments"]
)
def test_a_byte_now_and_then_does_not(made: House, data: bytes) -> None:
    """Such a client never comes to answer its pings, and would stay for as long as it likes."""
    client = made.make_wire(App(), ping_interval=25.0, ping_timeout=10.0)
    for byte in data[:35]:
        assert client.writer.live
        client.send(bytes([byte]))
        made.loop.advance(1.0)
    made.loop.advance(0.2)
    assert client.ended[0] == 1006
    assert client.transport.aborted


def test_a_client_that_takes_a_long_message_shows_that_it_lives(made: House) -> None:
    """The ping waits behind the message, so no answer can come; but what is taken was acknowledged."""
    app = App()
    client = made.make_wire(app, ping_interval=25.0, ping_timeout=10.0, send_backlog_age=0.0)
    client.transport.stuck = True
    app.connection.send(bytes(100 * SIGN_OF_LIFE_BYTES))
    made.loop.settle()
    for _ in range(20):
        client.transport.unsent -= SIGN_OF_LIFE_BYTES
        made.loop.advance(9.0)
        assert client.writer.live
    made.loop.advance(50.0)
    assert client.ended[0] == 1006


def test_who_took_something_before_it_was_pinged_has_to_answer(made: House) -> None:
    app = App()
    client = made.make_wire(app, ping_interval=25.0, ping_timeout=10.0)
    client.transport.stuck = True
    app.connection.send(bytes(10 * SIGN_OF_LIFE_BYTES))
    made.loop.settle()
    client.transport.drain()
    made.loop.advance(25.1)
    app.connection.send(bytes(10 * SIGN_OF_LIFE_BYTES))  # the kernel takes it, with a client or without
    made.loop.advance(10.1)
    assert client.ended[0] == 1006


def test_an_interval_of_0_is_never(made: House) -> None:
    client = made.make_wire(App(), ping_interval=0.0)
    assert len(client.wheel) == 0
    made.loop.advance(100_000)
    assert client.sent == b""
    assert client.writer.live
