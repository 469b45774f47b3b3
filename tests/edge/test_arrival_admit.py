"""edge/arrival.py: apps that decide about opening handshakes themselves, before the 101."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.admission import ADA, Chain, Door
from tests.support.fakes import ACCEPT, App, House, request, text
from wsdaemon.core.acceptance import HandshakeRefused
from wsdaemon.core.connection import Connection
from wsdaemon.core.contract import Acceptance
from wsdaemon.core.handshake import Handshake
from wsdaemon.edge.request_body import LINGER_SECONDS


class Deciding(App):
    """Answers when the test says so, with what the test says."""

    def __init__(self, made: House) -> None:
        super().__init__()
        self.future: asyncio.Future[Any] = made.loop.create_future()
        self.asked: list[Handshake] = []
        self.cancelled = self.abandoned = 0

    async def admit(self, handshake: Handshake) -> Acceptance | None:
        self.asked.append(handshake)
        try:
            answer: Acceptance | None = await self.future
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return answer

    def abandon(self) -> None:
        self.abandoned += 1

    def decide(self, answer: object) -> None:
        if isinstance(answer, Exception):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)
        self.future.get_loop().settle()  # type: ignore[attr-defined]


class Asked:
    """A door with such an app, and one client that offers `a` and `b`."""

    def __init__(self, made: House, **options: Any) -> None:
        self.app = Deciding(made)
        self.door = Door(made, app=self.app, subprotocols=("b",), **options)
        self.visitor = self.door.arrive(request("/chat", sec_websocket_protocol="a, b"))
        made.loop.settle()


@pytest.fixture
def asked(made: House) -> Iterator[Asked]:
    yield (one := Asked(made))
    one.visitor.transport.lose()
    made.loop.advance(60)
    assert one.door.count.now == 0, "a place was not given back"
    assert not one.door.arrivals
    assert len(one.door.wheel) == 0


def test_nothing_is_answered_before_the_app_has_decided(asked: Asked) -> None:
    assert asked.visitor.answer == ""
    assert asked.app.connections == []
    assert asked.door.count.now == 1, "the app is asked about clients that have their place"
    assert [handshake.path for handshake in asked.app.asked] == ["/chat"]
    asked.app.decide(None)
    assert asked.visitor.status == 101
    assert f"Sec-WebSocket-Accept: {ACCEPT}\r\n" in asked.visitor.answer
    assert asked.app.connection.subprotocol == "b", "the daemon's choice stands"
    assert asked.door.count.now == 1
    assert not asked.door.arrivals


@pytest.mark.parametrize(("chosen", "expected"), [(None, "b"), ("a", "a"), ("b", "b"), ("", None)])
def test_the_app_chooses_the_subprotocol(asked: Asked, chosen: str | None, expected: str | None) -> None:
    asked.app.decide(Acceptance(subprotocol=chosen))
    assert asked.visitor.status == 101
    assert (f"Sec-WebSocket-Protocol: {expected}\r\n" in asked.visitor.answer) == (expected is not None)
    assert asked.app.connection.subprotocol == expected


def test_headers_keep_their_order_and_their_duplicates(asked: Asked) -> None:
    asked.app.decide(Acceptance(headers=[("Set-Cookie", "a=1"), ("X-Name", "caf\xe9"), ("Set-Cookie", "b=2")]))
    assert "\r\nSet-Cookie: a=1\r\nX-Name: caf\xe9\r\nSet-Cookie: b=2\r\n\r\n" in asked.visitor.answer


def test_the_app_brings_the_session(asked: Asked) -> None:
    other = App()
    asked.app.decide(Acceptance(open=other.open, abandoned=asked.app.abandon))
    asked.visitor.transport.receive(text("hello"))
    assert (other.messages, asked.app.connections) == (["hello"], [])
    assert asked.app.abandoned == 0


BAD_ANSWERS = {
    "no acceptance": ("yes", TypeError),
    "a subprotocol that was not offered": (Acceptance(subprotocol="c"), ValueError),
    "a header that breaks out": (Acceptance(headers=[("X", "a\r\nY: b")]), ValueError),
    "a name that is none": (Acceptance(headers=[("X Y", "a")]), ValueError),
    "a header of the handshake": (Acceptance(headers=[("Sec-WebSocket-Protocol", "a")]), ValueError),
    "a header of the daemon's": (Acceptance(headers=[("Transfer-Encoding", "chunked")]), ValueError),
    "an exception": (RuntimeError, RuntimeError),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_a_fault_of_the_app_is_answered_500_and_logged(asked: Asked, name: str, failures: list[BaseException]) -> None:
    answer, expected = BAD_ANSWERS[name]
    asked.app.decide(RuntimeError("mine") if answer is RuntimeError else answer)
    assert asked.visitor.status == 500
    assert "mine" not in asked.visitor.answer
    assert asked.door.count.now == 0
    assert [type(error) for error in failures] == [expected]


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    found: list[BaseException] = []
    monkeypatch.setattr("wsdaemon.edge.gate.Gate.broken", lambda gate, failure, peer: found.append(failure.value))
    return found


def test_the_app_refuses(asked: Asked) -> None:
    asked.app.decide(HandshakeRefused(402, "pay first", [("X-Price", "5"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]))
    head, _, body = asked.visitor.answer.partition("\r\n\r\n")
    assert head.split("\r\n") == [
        "HTTP/1.1 402 Payment Required", "Server: wsdaemon", "X-Price: 5", "Set-Cookie: a=1", "Set-Cookie: b=2",
        "Content-Type: text/plain; charset=utf-8", "Content-Length: 9", "Connection: close",
    ]  # fmt: skip
    assert body == "pay first"
    assert asked.visitor.transport.eof_written
    assert asked.door.count.now == 0, "its place is free before it has gone"
    assert asked.door.gate.refused_by_mount == {"/chat": {"app": 1}}


def test_a_client_that_leaves_ends_the_question(asked: Asked, made: House) -> None:
    asked.visitor.transport.lose()
    made.loop.settle()
    assert asked.app.cancelled == 1
    assert asked.door.count.now == 0


def test_an_app_that_takes_too_long(asked: Asked, made: House) -> None:
    made.loop.advance(10.1)
    assert asked.visitor.status == 503
    assert asked.door.gate.refused == {"app_timeout": 1}
    assert asked.app.cancelled == 1
    made.loop.advance(LINGER_SECONDS + 0.1)
    assert asked.visitor.transport.lost


@pytest.mark.parametrize("leave", [True, False])
def test_an_acceptance_that_comes_too_late_is_abandoned(asked: Asked, made: House, leave: bool) -> None:
    asked.app.future.set_result(Acceptance(open=App().open, abandoned=asked.app.abandon))
    if leave:
        asked.visitor.transport.lose()
    else:
        asked.door.draining = True
    made.loop.settle()
    assert asked.app.abandoned + asked.app.cancelled == 1
    assert asked.visitor.status == (0 if leave else 503)
    assert asked.door.count.now == 0


def test_an_app_that_fails_while_the_client_leaves_is_not_the_loops_problem(asked: Asked, made: House) -> None:
    asked.app.future.set_exception(RuntimeError("mine"))
    asked.visitor.transport.lose()
    made.loop.settle()
    assert made.loop.problems == []


def test_bytes_that_come_early_wait_and_are_bounded(made: House) -> None:
    app = Deciding(made)
    door = Door(made, app=app)
    visitor = door.arrive(request("/chat") + text("early"))
    made.loop.settle()
    assert not visitor.transport.reading, "no more is read than came with the request"
    visitor.transport.receive(text("later"))
    app.decide(None)
    assert app.messages == ["early", "later"]


def test_authentication_comes_first(made: House) -> None:
    async def ask(request: object) -> Any:
        return ADA

    app = Deciding(made)
    door = Door(made, app=app, chain=Chain(ask))
    visitor = door.arrive(request("/chat") + text("early"))
    made.loop.settle()
    assert [handshake.identity for handshake in app.asked] == [ADA]
    assert not visitor.transport.reading
    app.decide(None)
    assert (visitor.status, app.messages) == (101, ["early"])


def test_an_app_is_not_asked_when_the_mount_is_full(made: House) -> None:
    app = Deciding(made)
    door = Door(made, app=app, most=1)
    door.arrive(request("/chat"))
    second = door.arrive(request("/chat"))
    made.loop.settle()
    assert second.status == 503
    assert len(app.asked) == 1


class Plain(App):
    """Its admit() is a plain function that refuses at once."""

    def admit(self, handshake: Handshake) -> Any:
        raise HandshakeRefused(418)


def test_a_refusal_without_a_wait(made: House) -> None:
    door = Door(made, app=Plain())
    visitor = door.arrive(request("/chat"))
    assert visitor.status == 418
    assert door.count.now == 0


def test_a_daemon_that_begins_to_stop_while_it_answers_abandons_the_session(made: House) -> None:
    app = Deciding(made)
    door = Door(made, app=app)

    def stop(connection: Connection) -> None:
        connection.close(1001)

    door.watcher.opened = stop  # type: ignore[method-assign]
    visitor = door.arrive(request("/chat"))
    made.loop.settle()
    app.decide(Acceptance(open=app.open, abandoned=app.abandon))
    assert visitor.status == 101
    assert (app.abandoned, app.connections) == (1, [])
