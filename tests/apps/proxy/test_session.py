"""apps/proxy/session.py: messages, backpressure and close codes between a client and its target, in memory."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fakes import Client, House, binary, close, text
from wsdaemon.apps.proxy import Answered
from wsdaemon.apps.proxy.session import ProxySession
from wsdaemon.core.closing import ConnectionClosed
from wsdaemon.core.connection import Connection
from wsdaemon.core.handshake import Handshake, Headers


class Target:
    """The target's side, as the daemon gives it: it is its own writer and reader."""

    def __init__(self) -> None:
        self.writer = self.reading = self
        self.many = False
        self.sent: list[tuple[bytes, bool]] = []
        self.at_once = 0
        self.closes: list[tuple[int | None, str]] = []
        self.slow: Any = None
        self.lost = False
        self.over = False
        self.session: Any = None
        self.lefts = 0

    def send_payload(self, payload: bytes, text: bool) -> Any:
        if self.over:
            raise ConnectionClosed(1006)
        self.sent.append((payload, text))
        return self.slow

    def send_at_once(self, payload: bytes, text: bool) -> Any:
        self.at_once += 1
        return self.send_payload(payload, text)

    def close(self, code: int | None, reason: str) -> None:
        self.closes.append((code, reason))

    # -- the app

    def open(self, connection: Connection, handshake: Handshake) -> ProxySession:
        return ProxySession(connection, Answered(None, Headers(), self.begin, lambda: None), self.left)

    def begin(self, session: Any) -> Any:
        if self.lost:
            raise RuntimeError
        self.session = session
        session.opened(self)
        return self

    def left(self) -> None:
        self.lefts += 1


def connect(made: House, target: Target, **options: Any) -> Client:
    client = made.make_wire(target, ping_interval=0.0, compression=False, **options)
    made.loop.settle()
    return client


def test_messages_and_their_types(made: House) -> None:
    target = Target()
    client = connect(made, target)
    client.send(text("a"))
    client.send(binary(b"b"), text(""))
    assert target.sent == [(b"a", True), (b"b", False), (b"", True)]
    assert target.session.received_payload("ä".encode(), True) is None
    target.session.received_payload(b"\xff", False)
    assert [(frame.opcode, frame.payload) for frame in client.frames()] == [(1, "ä".encode()), (2, b"\xff")]


def test_a_message_that_came_alone_leaves_at_once_and_several_together(made: House) -> None:
    target = Target()
    client = connect(made, target)
    client.send(binary(b"a"))
    assert target.at_once == 1
    client.send(*[binary(b"a")] * 3)
    assert (target.at_once, len(target.sent)) == (1, 4)
    writes = len(client.transport.writes)
    target.session.received_payload(b"x", False)
    assert len(client.transport.writes) == writes + 1
    target.many = True
    target.session.received_payload(b"x", False)
    target.session.received_payload(b"x", False)
    assert len(client.transport.writes) == writes + 1
    made.loop.settle()
    assert len(client.transport.writes) == writes + 2


def test_a_slow_target_stops_its_client(made: House) -> None:
    target = Target()
    client = connect(made, target)
    target.slow = slow = made.loop.create_future()
    client.send(binary(b"a"))
    made.loop.settle()
    assert not client.transport.reading
    target.slow = None
    slow.set_result(None)
    made.loop.settle()
    assert client.transport.reading


def test_a_client_that_leaves_while_its_target_is_slow(made: House) -> None:
    target = Target()
    client = connect(made, target)
    target.slow = made.loop.create_future()
    client.send(binary(b"a"))
    client.vanish()
    made.loop.settle()
    assert target.closes == [(1001, "the client has gone")]
    assert target.lefts == 1


def test_a_slow_client_stops_its_target(made: House) -> None:
    target = Target()
    client = connect(made, target)
    client.transport.stuck = True
    waits = [target.session.received_payload(bytes(100_000), False) for _ in range(3)]
    assert waits[-1] is not None
    client.transport.drain()


@pytest.mark.parametrize(("code", "told"), [(1000, (1000, "why")), (4001, (4001, "why")), (None, (None, ""))])
def test_the_client_s_close_code_reaches_the_target(made: House, code: int | None, told: tuple[int | None, str]) -> None:
    target = Target()
    client = connect(made, target)
    client.send(close(code, "why") if code is not None else close(None))
    made.loop.settle()
    client.vanish()
    made.loop.settle()
    assert (target.closes, target.lefts) == ([told], 1)


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (1000, "bye", (1000, "bye")), (4002, "so", (4002, "so")), (1012, "restart", (1012, "restart")), (1005, "", (1000, "")),
        (1006, "", (1011, "the connection to the target is lost")),
    ],
)  # fmt: skip
def test_the_target_s_close_code_reaches_the_client(made: House, code: int, reason: str, expected: tuple[int, str]) -> None:
    target = Target()
    client = connect(made, target)
    target.session.closed(code, reason)
    client.send(binary(b"late"))
    client.answer_close()
    assert client.ended == (*expected, "server")
    assert (target.sent, target.closes, target.lefts) == ([], [], 1)


def test_a_target_that_is_closing_gets_no_more(made: House) -> None:
    target = Target()
    client = connect(made, target)
    target.over = True
    client.send(binary(b"a"))
    assert client.connection.is_open
    client.wire.close(1001, "")
    assert target.session.received_payload(b"x", False) is None


def test_a_target_that_is_lost_before_the_connection_is_open(made: House) -> None:
    target = Target()
    target.lost = True
    client = connect(made, target)
    client.send(binary(b"a"))
    client.answer_close()
    assert client.ended[:2] == (1011, "the connection to the target is lost")
    assert target.lefts == 1
