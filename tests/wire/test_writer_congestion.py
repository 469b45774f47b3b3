"""wire/protocol.py and wire/output.py: a client that does not read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from tests.support.fakes import App, Client, House, binary, closing, frame
from wsdaemon.apps.echo import EchoApp
from wsdaemon.core.closing import ConnectionClosed
from wsdaemon.core.connection import READY, Connection
from wsdaemon.wire.policy import HIGH_WATER_BYTES

pytestmark = pytest.mark.readers()


def congest(client: Client, connection: Connection, size: int = HIGH_WATER_BYTES + 1) -> None:
    client.transport.stuck = True
    connection.send(bytes(size))
    client.loop.settle()
    assert client.transport.unsent >= size


def waits(loop: Any, awaitable: Awaitable[object]) -> asyncio.Future[object]:
    async def wait() -> object:
        return await awaitable

    task: asyncio.Future[object] = loop.create_task(wait())
    loop.settle()
    return task


def test_send_gives_something_to_wait_for(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    assert app.connection.send("quick") is READY
    assert waits(made.loop, app.connection.writable()).done()
    congest(client, app.connection)
    sent = waits(made.loop, app.connection.send("slow"))
    room = waits(made.loop, app.connection.writable())
    assert not sent.done()
    assert not room.done()
    client.transport.drain()
    made.loop.settle()
    assert sent.done()
    assert room.done()
    assert app.connection.send("quick again") is READY


@pytest.mark.parametrize("how", ["vanish", "close", "abort"])
def test_waiting_for_room_ends_with_the_connection(made: House, how: str) -> None:
    app = App()
    client = made.make_wire(app)
    congest(client, app.connection)
    room = waits(made.loop, app.connection.writable())
    assert not room.done()
    if how == "vanish":
        client.vanish()
    elif how == "close":
        app.connection.close()
    else:
        app.connection.abort()
    made.loop.settle()
    assert room.done()
    with pytest.raises(ConnectionClosed):
        app.connection.send("x")


def test_who_gives_up_waiting_for_room_leaves_nothing_behind(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    congest(client, app.connection)
    room, other = waits(made.loop, app.connection.writable()), waits(made.loop, app.connection.writable())
    room.cancel()
    made.loop.settle()
    client.transport.drain()
    made.loop.settle()
    assert room.cancelled()
    assert other.done()


def test_an_echo_to_a_client_that_does_not_read_stops_reading_it(made: House) -> None:
    client = made.make_wire(EchoApp(), send_backlog=10_000_000)
    client.transport.stuck = True
    for _ in range(100):
        client.send(binary(bytes(50_000)))
    assert not client.transport.reading
    assert client.transport.unsent < HIGH_WATER_BYTES + 200_000, "what is kept for it has a bound"
    client.transport.drain()
    made.loop.settle()
    assert client.transport.reading
    assert len(client.frames()) == 100


def test_a_client_that_is_too_slow_gets_1013(made: House) -> None:
    """Without a bound, a client that does not read costs memory for ever."""
    app = App()
    client = made.make_wire(app, send_backlog=300_000)
    client.transport.stuck = True
    sent = 0
    while app.connection.is_open and sent < 100:
        app.connection.send(bytes(10_000))
        made.loop.settle()
        sent += 1
    assert 28 <= sent <= 32
    assert client.frames()[-1] == closing(1013, "client reads too slowly")
    with pytest.raises(ConnectionClosed):
        app.connection.send("x")
    made.loop.advance(6)
    assert client.transport.aborted
    assert client.ended == (1013, "client reads too slowly", "server")


def test_one_message_over_the_backlog_to_a_client_that_does_not_read(made: House) -> None:
    app = App()
    client = made.make_wire(app, send_backlog=300_000)
    client.transport.stuck = True
    app.connection.send(bytes(300_001))
    made.loop.settle()
    assert client.writer.live, "it waits alone: an echo of a message that may be larger than the backlog must be possible"
    made.loop.advance(25.1)
    assert client.writer.live, "a ping does not change that"
    client.send(frame(10, b"ping"))
    app.connection.send(bytes(299_000))
    made.loop.settle()
    assert client.writer.live, "the backlog is for what comes after it"
    app.connection.send(bytes(1_000))
    made.loop.settle()
    assert client.frames()[-1].code == 1013


def test_unsent_counts_what_waits_here_and_in_the_transport(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    client.transport.stuck = True
    app.connection.send(bytes(100))
    assert client.writer.unsent() == 102
    made.loop.settle()
    assert client.writer.unsent() == 102
    client.transport.drain()
    assert client.writer.unsent() == 0
    client.vanish()
    assert client.writer.unsent() == 0
