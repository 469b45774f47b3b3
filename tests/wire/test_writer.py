"""wire/writer.py: what leaves together, straight to the socket where that is possible, and in turns when there is much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.support.fakes import PYTHON, App, Client, Frame, House, text
from wsdaemon.apps.echo import EchoApp
from wsdaemon.core.closing import ConnectionClosed
from wsdaemon.core.connection import READY
from wsdaemon.core.slices import SLICE_SECONDS
from wsdaemon.wire.writer import COPIED_BYTES, JOINED_BYTES, make_flusher


class Socket:
    """A socket as the frame reader's send() sees it: takes at most `room` bytes at once; -1 stands for an error."""

    def __init__(self) -> None:
        self.room = 1 << 30
        self.taken = b""
        self.descriptors: set[int] = set()

    def send(self, descriptor: int, data: bytes) -> int:
        self.descriptors.add(descriptor)
        if self.room < 0:
            return -1
        part = data[: self.room]
        self.taken += part
        return len(part)


@pytest.fixture
def direct(made: House) -> tuple[Client, App, Socket]:
    """A connection whose socket can be written to past the transport."""
    app, socket = App(), Socket()
    client = made.make_wire(app, frames=replace(PYTHON, send=socket.send), descriptor=7)
    assert socket.taken.startswith(b"HTTP/1.1 101 ")
    socket.taken = b""
    return client, app, socket


# -- where bytes go


def test_straight_to_the_socket_when_the_transport_holds_nothing(direct: tuple[Client, App, Socket]) -> None:
    client, app, socket = direct
    app.connection.send("x")
    client.loop.settle()
    assert socket.taken == b"\x81\x01x"
    assert socket.descriptors == {7}
    assert client.transport.writes == []


def test_what_the_socket_does_not_take_goes_to_the_transport(direct: tuple[Client, App, Socket]) -> None:
    client, app, socket = direct
    client.transport.stuck = True
    socket.room = 2
    app.connection.send("xyz")
    client.loop.settle()
    assert (socket.taken, client.transport.writes) == (b"\x81\x03", [b"xyz"])
    socket.room = 100
    app.connection.send("next")
    client.loop.settle()
    assert socket.taken == b"\x81\x03", "nothing overtakes what waits in the transport"
    assert client.transport.writes == [b"xyz", b"\x81\x04next"]
    client.transport.drain()
    app.connection.send("last")
    client.loop.settle()
    assert socket.taken == b"\x81\x03\x81\x04last"


@pytest.mark.parametrize("room", [0, -1])
def test_a_socket_that_takes_nothing(direct: tuple[Client, App, Socket], room: int) -> None:
    """An error is the transport's to find out: it knows how to end a connection."""
    client, app, socket = direct
    socket.room = room
    app.connection.send("xyz")
    client.loop.settle()
    assert (socket.taken, client.transport.writes) == (b"", [b"\x81\x03xyz"])


def test_after_a_close_nothing_goes_past_the_transport(direct: tuple[Client, App, Socket]) -> None:
    client, app, socket = direct
    app.connection.abort()
    client.loop.settle()
    assert client.writer.descriptor == -1
    assert socket.taken == b""


def test_over_tls_everything_goes_through_the_transport(made: House) -> None:
    socket = Socket()
    client = made.make_wire(EchoApp(), frames=replace(PYTHON, send=socket.send), descriptor=-1)
    client.send(text("x"))
    assert client.frames() == [Frame(1, b"x")]
    assert socket.taken == b""


# -- how bytes are joined


def test_small_pieces_are_joined(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    before = len(client.transport.writes)
    for _ in range(5):
        app.connection.send(b"x" * 1000)
    client.loop.settle()
    assert len(client.transport.writes) == before + 1


def test_a_large_payload_is_written_beside_its_header_without_a_copy(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    pieces: list[list[bytes]] = []
    client.transport.writelines = pieces.append  # type: ignore[method-assign,assignment]
    payload = bytes(JOINED_BYTES + 1)
    app.connection.send(payload)
    client.loop.settle()
    assert [len(written) for written in pieces] == [2]
    assert pieces[0][1] is payload


def test_a_middling_payload_is_joined(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    before = len(client.transport.writes)
    app.connection.send(bytes(COPIED_BYTES + 1))
    client.loop.settle()
    assert len(client.transport.writes) == before + 1
    assert client.frames() == [Frame(2, bytes(COPIED_BYTES + 1))]


def test_what_waits_is_written_early_when_it_is_much(made: House) -> None:
    """A reply to every frame of a long read is not kept until its end."""
    client = made.make_wire(EchoApp())
    before = len(client.transport.writes)
    client.send(*[text("x" * 10_000)] * 20)
    assert len(client.transport.writes) > before + 2
    assert len(client.frames()) == 20


def test_nothing_is_written_when_nothing_is_queued(made: House) -> None:
    client = made.make_wire(App())
    before = len(client.transport.writes)
    client.writer.flush()
    client.writer.flush()
    assert len(client.transport.writes) == before


def test_what_is_queued_for_a_client_that_is_gone_is_let_go(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    app.connection.send("x")
    client.vanish()
    client.loop.settle()
    client.writer.write(b"y")
    client.loop.settle()
    assert client.writer.out is None
    assert client.sent == b""


# -- the flusher


def test_what_connections_were_sent_outside_of_a_read_leaves_in_one_turn_of_the_loop(made: House) -> None:
    app = App()
    clients = [made.make_wire(app) for _ in range(3)]
    for connection in app.connections * 2:
        connection.send("x")
    assert [client.frames() for client in clients] == [[], [], []]
    made.loop.turn()
    assert [client.frames() for client in clients] == [[Frame(1, b"x")] * 2] * 3


def test_between_many_connections_others_have_their_turn() -> None:
    calls: list[Callable[[], None]] = []
    now = 0.0

    class Sink:
        flushed = 0

        def flush(self) -> None:
            nonlocal now
            now += SLICE_SECONDS / 4
            Sink.flushed += 1

    flusher = make_flusher(calls.append, lambda: now)
    for _ in range(100):
        flusher.add(Sink())
    done = []
    while calls:
        calls.pop()()
        done.append(Sink.flushed)
    assert done == [16, 32, 48, 64, 80, 96, 100]


# -- messages that are passed on


def test_a_message_sent_at_once_does_not_wait_for_the_flusher(made: House) -> None:
    app = App()
    client = made.make_wire(app)
    writes = len(client.transport.writes)
    assert client.writer.send_at_once(b"one", True) is None
    assert len(client.transport.writes) == writes + 1
    client.writer.send_payload(b"two", True)
    client.writer.send_at_once(b"three", True)
    assert [frame.payload for frame in client.frames()] == [b"one", b"two", b"three"]
    made.loop.settle()
    assert client.frames() == []


def test_within_a_read_of_its_own_connection_it_leaves_with_the_others(made: House) -> None:
    app = App(lambda connection, message: connection._writer.send_at_once(b"x", True))
    client = made.make_wire(app)
    writes = len(client.transport.writes)
    client.send(text("a"), text("b"))
    assert len(client.transport.writes) == writes + 1


def test_it_goes_straight_to_the_socket_and_what_that_does_not_take_to_the_transport(made: House) -> None:
    client = made.make_wire(App())
    writer, sent = client.writer, [b""]
    room = 100

    def send(descriptor: int, data: bytes) -> int:
        sent.append(data[:room])
        return min(len(data), room)

    writer.descriptor, writer.send_direct = 7, send
    before, writes = writer.bytes_out, len(client.transport.writes)
    assert writer.send_at_once(b"small", True) is None
    assert sent[-1] == b"\x81\x05small"
    assert len(client.transport.writes) == writes
    client.transport.stuck = True
    assert writer.send_at_once(bytes(200), False) is READY, "something waits, but less than makes a sender wait"
    assert len(sent[-1]) == 100
    assert writer.queued
    writes = len(sent)
    writer.send_at_once(b"behind it", True)
    assert len(sent) == writes, "nothing passes what the transport holds"
    assert b"".join([*sent, *client.transport.writes[-2:]]).endswith(b"behind it")
    assert writer.bytes_out - before == 7 + 204 + 11
    assert writer.messages_out == 3


def test_a_large_message_and_one_over_tls_leave_at_once_too(made: House) -> None:
    client = made.make_wire(App())
    client.writer.send_at_once(bytes(COPIED_BYTES + 1), False)
    client.writer.descriptor = -1  # as with TLS: only the transport can write
    client.writer.send_at_once(b"x", False)
    assert [len(frame.payload) for frame in client.frames()] == [COPIED_BYTES + 1, 1]
    assert client.writer.out is None
    assert client.writer.messages_out == 2


def test_nothing_is_sent_at_once_after_the_end(made: House) -> None:
    client = made.make_wire(App())
    client.connection.close()
    with pytest.raises(ConnectionClosed):
        client.writer.send_at_once(b"x", False)


def test_a_message_sent_at_once_to_a_slow_client_is_waited_for(made: House) -> None:
    client = made.make_wire(App())
    client.transport.stuck = True
    assert client.writer.send_at_once(bytes(200_000), False) is not None
    client.transport.drain()
    assert client.writer.send_at_once(b"x", False) is None


@pytest.mark.readers
def test_a_reader_says_whether_a_message_came_alone(made: House) -> None:
    seen: list[bool] = []
    app = App(lambda connection, message: seen.append(connection._wire.reader.many))
    client = made.make_wire(app)
    client.send(text("a"))
    client.send(text("a"), text("b"))
    client.send(text("a"))
    if client.fast:
        assert seen == [False, True, True, False]
    else:  # Autobahn's parser gives one after the other
        assert seen == [False] * 4
    assert not client.reader.many
