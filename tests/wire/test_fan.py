"""wire/fan.py: messages to many connections in one pass."""

from __future__ import annotations

import socket
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.fakes import App, Client, Frame, House, Watcher, request, server_frames
from wsdaemon.wire.deflate.negotiation import DeflateOptions
from wsdaemon.wire.fan import send_to_all

DEFLATE = DeflateOptions(threshold=10)
OFFER = request(sec_websocket_extensions="permessage-deflate")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        yield near, far


class Members:
    """Some clients of one mount."""

    def __init__(self, made: House, **options: Any) -> None:
        self.made = made
        self.watcher = Watcher()
        self.made_class = made.make_wires(App(), self.watcher, **options)
        self.clients: list[Client] = []

    def add(self, opening: bytes = b"", descriptor: int = -1) -> Client:
        client = Client(self.made.loop, self.made_class, self.watcher, self.made_class.policy.wheel, opening or request(), descriptor)
        self.clients.append(client)
        return client

    def send(self, *messages: bytes, key: object = None) -> None:
        writers = [client.writer for client in self.clients]
        send_to_all(writers, [writers[0].prepare(message, True, key) for message in messages])
        self.made.loop.settle()


def inflated(frame: Frame) -> bytes:
    assert frame.rsv == 4
    return zlib.decompressobj(-15).decompress(frame.payload + b"\x00\x00\xff\xff")


def test_all_get_all_in_order_and_in_one_write(made: House) -> None:
    members = Members(made)
    clients = [members.add() for _ in range(3)]
    before = [len(client.transport.writes) for client in clients]
    members.send(b"one", b"two")
    for client, writes in zip(clients, before, strict=True):
        assert len(client.transport.writes) == writes + 1
        assert client.frames() == [Frame(1, b"one"), Frame(1, b"two")]
        assert client.writer.messages_out == 2


def test_straight_to_the_socket_when_nothing_waits(made: House, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    members = Members(made)
    client = members.add(descriptor=near.fileno())
    far.recv(4096)  # the answer to the opening handshake
    before = client.writer.bytes_out
    members.send(b"one", b"two")
    assert list(server_frames(far.recv(4096))) == [Frame(1, b"one"), Frame(1, b"two")]
    assert client.writer.bytes_out == before + 10
    client.writer.write(b"\x81\x01x")  # something waits for the loop's next turn: what comes after it must stay after it
    members.send(b"three")
    assert [frame.payload for frame in server_frames(far.recv(4096))] == [b"x", b"three"]


def test_what_a_socket_does_not_take_goes_to_the_transport(made: House, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    members = Members(made)
    client = members.add(descriptor=near.fileno())
    far.recv(4096)
    members.send(b"x" * 10_000_000)
    taken = 0
    far.setblocking(False)
    try:
        while True:
            taken += len(far.recv(1 << 20))
    except BlockingIOError:
        pass
    assert 0 < taken < 10_000_000
    assert taken + sum(map(len, client.transport.writes)) == 10_000_010


def test_compressed_once_for_all_who_agreed_alike(made: House) -> None:
    members = Members(made, deflate=DEFLATE)
    one, two = members.add(OFFER), members.add(OFFER)
    narrow = members.add(request(sec_websocket_extensions="permessage-deflate; server_max_window_bits=9"))
    plain = members.add()
    members.send(b"a" * 50, b"tiny")
    frames = [client.frames() for client in (one, two, narrow)]
    assert frames[0] == frames[1]
    for first, second in frames:
        assert inflated(first) == b"a" * 50
        assert second == Frame(1, b"tiny")
    assert plain.frames() == [Frame(1, b"a" * 50), Frame(1, b"tiny")]


def test_one_that_is_closing_gets_nothing(made: House) -> None:
    members = Members(made)
    gone, there = members.add(), members.add()
    gone.wire.close(1000, "")
    gone.frames()
    members.send(b"x")
    assert gone.sent == b"" and gone.writer.messages_out == 0
    assert there.frames() == [Frame(1, b"x")]


def test_a_slow_one_is_closed_and_holds_up_nobody(made: House) -> None:
    members = Members(made, send_backlog=1000)
    slow, quick = members.add(), members.add()
    slow.transport.stuck = True
    for _ in range(5):
        members.send(b"x" * 400)
    assert len(quick.frames()) == 5
    assert slow.protocol.localCloseCode == 1013


@pytest.mark.parametrize("opening", [b"", OFFER])
@pytest.mark.parametrize("policy", ["drop_oldest", "latest"])
def test_a_slow_one_misses_messages_where_the_mount_drops_them(made: House, policy: str, opening: bytes) -> None:
    deflate = DeflateOptions(threshold=0, server_context_takeover=False)
    members = Members(made, send_backlog=30, slow_client=policy, deflate=deflate)
    slow, quick = members.add(opening), members.add(opening)
    slow.reader.pause_writing()
    for start in (0, 5):
        members.send(*[str(number).encode() * 8 for number in range(start, start + 5)], key="room")
    slow.reader.resume_writing()
    got = [(inflated(frame) if frame.rsv else frame.payload)[:1] for frame in slow.frames()]
    assert got == list(map(str.encode, "0123456789"))[-len(got) :]
    assert len(got) == 1 if policy == "latest" else 0 < len(got) < 6
    assert len(quick.frames()) == 10


def test_one_that_breaks_harms_nobody(made: House, monkeypatch: pytest.MonkeyPatch) -> None:
    members = Members(made)
    first, second = members.add(), members.add()
    monkeypatch.setattr(type(first.writer), "write", lambda writer, data: 1 / 0 if writer is first.writer else writer.native.write(data))
    members.send(b"x")
    assert second.frames() == [Frame(1, b"x")]
    assert [(doing, type(error)) for doing, error in members.watcher.failures] == [("reading", ZeroDivisionError)]
    assert first.transport.aborted
