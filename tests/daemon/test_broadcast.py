"""daemon/broadcast.py: one message to many connections, which waits for no client and leaves others their turn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.fakes import App, Client, Frame, House, closing, house
from wsdaemon.core.connection import Connection
from wsdaemon.core.threads import SendQueueFull, ThreadCalls
from wsdaemon.daemon.broadcast import CONNECTIONS_AT_ONCE, Where, broadcast, broadcast_from


@pytest.fixture
def made() -> Iterator[House]:
    with house() as made:
        yield made


class Hall:
    """Clients of one mount, and what their server broadcasts to them."""

    def __init__(self, made: House, count: int, **options: Any) -> None:
        self.made = made
        self.wires = made.make_wires(App(), ping_interval=0.0, **options)
        self.clients = [made.connect(self.wires) for _ in range(count)]
        self.failures: list[tuple[str, str, str]] = []

    @property
    def connections(self) -> Iterator[Connection]:
        return (client.connection for client in self.clients)

    def send(self, message: Any, where: Where | None = None) -> None:
        broadcast(self.made.calls, self.connections, message, where, self._failed)

    def _failed(self, connection: Connection, doing: str, error: BaseException) -> None:
        self.failures.append((connection.id, doing, str(error)))

    def frames(self) -> list[list[Frame]]:
        self.made.loop.settle()
        return [client.frames() for client in self.clients]


@pytest.mark.parametrize(("message", "frame"), [("ä", Frame(1, "ä".encode())), (b"b", Frame(2, b"b")), (bytearray(b"c"), Frame(2, b"c"))])
def test_every_connection_gets_the_message(made: House, message: Any, frame: Frame) -> None:
    hall = Hall(made, 3 * CONNECTIONS_AT_ONCE + 1)
    hall.send(message)
    assert hall.clients[0].frames() == [], "never inside the call"
    assert hall.frames() == [[frame]] * len(hall.clients)


def test_broadcasts_and_messages_of_threads_keep_their_order(made: House) -> None:
    hall = Hall(made, CONNECTIONS_AT_ONCE + 1)
    hall.send("1")
    for client in hall.clients:
        made.calls.add(lambda client=client: client.connection._send_late(b"2", True))  # type: ignore[misc]
    hall.send("3")
    assert hall.frames() == [[Frame(1, b"1"), Frame(1, b"2"), Frame(1, b"3")]] * len(hall.clients)


def test_the_path_of_a_mount(made: House) -> None:
    hall = Hall(made, 3)
    object.__setattr__(hall.clients[1].handshake, "mount", "/other")
    hall.send("x", "/other")
    assert [len(frames) for frames in hall.frames()] == [0, 1, 0]


def test_a_mount_that_a_reload_has_removed_is_known_until_its_last_connection_has_ended(made: House) -> None:
    hall = Hall(made, 2)
    [path] = {client.handshake.mount for client in hall.clients}
    daemon = SimpleNamespace(calls=made.calls, connections=list(hall.connections), mounts=[], watch=SimpleNamespace(app_failed=None))
    broadcast_from(daemon, "x", path)
    assert [len(frames) for frames in hall.frames()] == [1, 1]
    daemon.connections.clear()
    with pytest.raises(KeyError):
        broadcast_from(daemon, "x", path)


def test_a_function_chooses_and_its_failure_passes_over_one_connection(made: House) -> None:
    hall = Hall(made, 3)

    def where(connection: Connection) -> bool:
        return {"test-1": True, "test-3": False}[connection.id]

    hall.send("x", where)
    assert [len(frames) for frames in hall.frames()] == [1, 0, 0]
    assert hall.failures == [("test-2", "choosing the clients of a broadcast", "'test-2'")]


def test_a_connection_that_closes_is_passed_over(made: House) -> None:
    hall = Hall(made, 2)
    hall.clients[0].wire.close(1000, "")
    hall.send("x")
    assert hall.frames() == [[closing(1000)], [Frame(1, b"x")]]


def test_others_have_their_turn(made: House) -> None:
    """Each slice takes a bounded number of connections between two looks at the clock."""
    hall, turns = Hall(made, 10 * CONNECTIONS_AT_ONCE), [0]
    slow = ThreadCalls(made.loop, now=iter(range(1000)).__next__)
    broadcast(slow, hall.connections, "x", None, hall._failed)
    while len(slow):
        made.loop.turn()
        turns.append(sum(bool(client.transport.writes[1:]) for client in hall.clients))
    assert max(after - before for before, after in pairwise(turns)) == CONNECTIONS_AT_ONCE
    assert len(turns) > 10


def stuck_and_quick(made: House, **options: Any) -> tuple[Hall, Client, Client]:
    hall = Hall(made, 2, send_backlog=10_000, **options)
    stuck, quick = hall.clients
    stuck.transport.stuck = True
    return hall, stuck, quick


def test_a_slow_client_delays_no_other_and_is_closed(made: House) -> None:
    hall, stuck, quick = stuck_and_quick(made)
    for _ in range(30):
        hall.send(bytes(1000))
        made.loop.settle()
    assert len(quick.frames()) == 30
    assert stuck.connection.is_open is False
    assert stuck.protocol.localCloseCode == 1013


@pytest.mark.parametrize("policy", ["drop_oldest", "latest"])
def test_a_slow_client_of_a_mount_that_drops_messages(made: House, policy: str) -> None:
    hall, stuck, quick = stuck_and_quick(made, slow_client=policy)
    for number in range(30):
        hall.send(bytes([number]) * 1000)
        made.loop.settle()
    assert len(quick.frames()) == 30
    assert stuck.connection.is_open
    assert stuck.writer.shelf.dropped > 10
    stuck.transport.drain()
    assert stuck.frames()[-1] == Frame(2, bytes([29]) * 1000), "the newest is never dropped"


def test_the_bound(made: House) -> None:
    hall = Hall(made, 1)
    full = ThreadCalls(made.loop, max_calls=2)
    for _ in range(2):
        broadcast(full, hall.connections, "x", None, hall._failed)
    with pytest.raises(SendQueueFull):
        broadcast(full, hall.connections, "x", None, hall._failed)
    with pytest.raises(TypeError):
        hall.send(5)
