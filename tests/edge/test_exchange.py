"""edge/exchange.py: a request without an upgrade and its answer, whatever app there is. tests/apps/asgi/test_http.py has the whole way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.admission import ADA, Chain, Door
from tests.support.fakes import App, House
from wsdaemon.core.acceptance import HandshakeRefused
from wsdaemon.core.contract import PlainAnswer
from wsdaemon.core.handshake import Handshake
from wsdaemon.edge.chunks import CHUNKS_AT_ONCE
from wsdaemon.edge.exchange import HELD_BYTES
from wsdaemon.edge.origins import Origins

GET = b"GET /chat HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /chat HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"


class Plain(App):
    """Answers as the test says, once it has the whole body."""

    answers_plain = True

    def __init__(self, made: House, answer: Callable[[PlainAnswer, bytes], None] | None = None) -> None:
        super().__init__()
        self.work: asyncio.Future[Any] = made.loop.create_future()
        self.handshakes: list[Handshake] = []
        self.story: list[str] = []
        self.given: Any = None
        self._body = b""
        self._answer = answer

    async def admit(self, handshake: Handshake) -> None:
        raise HandshakeRefused(403)

    def answer(self, handshake: Handshake, method: str, answer: PlainAnswer) -> Plain:
        self.handshakes.append(handshake)
        self.story.append(method)
        self.given, self._body = answer, b""
        return self

    def body(self, data: bytes, more: bool) -> None:
        self._body += data
        if not more:
            self.story.append(self._body.decode())
            if self._answer is not None:
                self._answer(self.given, self._body)

    def closed(self) -> None:
        self.story.append("closed")


def hello(answer: PlainAnswer, body: bytes) -> None:
    answer.begin(200, [])
    answer.send(b"hello", False)


def test_an_answer_at_once(made: House) -> None:
    app = Plain(made, hello)
    door = Door(made, app=app)
    visitor = door.arrive(POST + b"12345")
    assert visitor.status == 200 and visitor.answer.endswith("\r\n\r\nhello")
    assert app.story == ["POST", "12345", "closed"]
    made.loop.settle()
    visitor.transport.receive(GET)
    assert app.story == ["POST", "12345", "closed", "GET", "", "closed"]
    visitor.transport.lose()
    assert door.count.now == 0 and app.story.count("closed") == 2


def test_authentication_comes_first(made: House) -> None:
    async def ask(request: object) -> Any:
        return ADA

    app = Plain(made, hello)
    visitor = Door(made, app=app, chain=Chain(ask)).arrive(POST + b"12")
    assert visitor.answer == ""
    visitor.transport.receive(b"345")
    made.loop.settle()
    assert visitor.status == 200
    assert [handshake.identity for handshake in app.handshakes] == [ADA]
    assert app.story == ["POST", "12345", "closed"]


def test_pages_of_other_origins_may_ask_because_the_app_has_rules_of_its_own(made: House) -> None:
    door = Door(made, app=Plain(made, hello), origins=Origins.parse(["same-origin"]))
    visitor = door.arrive(GET.replace(b"\r\n\r\n", b"\r\nOrigin: https://other.example\r\n\r\n"))
    assert visitor.status == 200


class Fails(Plain):
    def __init__(self, made: House, error: Exception) -> None:
        super().__init__(made)
        self.error = error

    def answer(self, handshake: Handshake, method: str, answer: PlainAnswer) -> Plain:
        raise self.error


@pytest.mark.parametrize(("error", "status"), [(RuntimeError("mine"), 500), (HandshakeRefused(503), 503)])
def test_an_app_that_fails_at_once(made: House, error: Exception, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsdaemon.edge.gate.Gate.broken", lambda *arguments: None)
    door = Door(made, app=Fails(made, error))
    visitor = door.arrive(GET)
    assert visitor.status == status and door.count.now == 0
    made.loop.advance(2)
    assert visitor.transport.lost and len(door.wheel) == 0


def test_a_failure_of_the_session_is_a_500(made: House, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[BaseException] = []
    monkeypatch.setattr("wsdaemon.edge.gate.Gate.broken", lambda gate, failure, peer: logged.append(failure.value))

    def fail(answer: PlainAnswer, body: bytes) -> None:
        raise RuntimeError("mine")

    door = Door(made, app=Plain(made, fail))
    visitor = door.arrive(POST)
    visitor.transport.receive(b"12345")
    assert visitor.status == 500 and [str(error) for error in logged] == ["mine"]


def test_after_the_end_an_answer_raises(made: House) -> None:
    app = Plain(made, hello)
    Door(made, app=app).arrive(GET)
    with pytest.raises(OSError):
        app.given.send(b"more", False)
    with pytest.raises(OSError):
        app.given.begin(200, [])
    app.given.fail()
    app.given.read_on()


def test_a_body_that_the_app_does_not_ask_for_waits_in_the_kernel(made: House) -> None:
    app = Plain(made)
    visitor = Door(made, app=app).arrive(POST.replace(b"5", b"500000", 1))
    visitor.transport.receive(bytes(HELD_BYTES + 1))
    assert not visitor.transport.reading
    app.given.read_on()
    assert visitor.transport.reading


def test_a_stopping_daemon_waits_for_the_work(made: House) -> None:
    app = Plain(made)
    Door(made, app=app).arrive(GET)
    assert len(made.background) == 1
    app.work.set_result(None)
    made.loop.settle()
    assert len(made.background) == 0


def test_the_rest_of_an_answer_is_taken_before_the_connection_goes_on(made: House) -> None:
    app = Plain(made)
    door = Door(made, app=app)
    visitor = door.arrive(GET + GET)
    visitor.transport.stuck = True
    app.given.begin(200, [])
    app.given.send(b"hello", False)
    made.loop.settle()
    assert app.story == ["GET", "", "closed"], "the next request has to wait"
    visitor.transport.drain()
    made.loop.settle()
    assert app.story == ["GET", "", "closed", "GET", ""]
    visitor.transport.lose()
    assert door.count.now == 0


@pytest.mark.parametrize("stuck", [False, True], ids=["before the loop's next turn", "while the client is slow"])
def test_a_request_that_comes_before_the_answer_is_taken_is_answered_next(made: House, stuck: bool) -> None:
    app = Plain(made)
    visitor = Door(made, app=app).arrive(GET)
    visitor.transport.stuck = stuck
    app.given.begin(200, [])
    app.given.send(b"hello", False)
    visitor.transport.receive(POST)
    if stuck:
        made.loop.settle()
        visitor.transport.receive(b"12")
        visitor.transport.drain()
    made.loop.settle()
    visitor.transport.receive(b"345" if stuck else b"12345")
    assert app.story == ["GET", "", "closed", "POST", "12345"]


def test_requests_that_come_before_the_answer_is_taken_have_a_bound(made: House) -> None:
    app = Plain(made)
    visitor = Door(made, app=app).arrive(GET)
    visitor.transport.stuck = True
    app.given.begin(200, [])
    app.given.send(b"hello", False)
    visitor.transport.receive(bytes(HELD_BYTES + 1))
    assert not visitor.transport.reading


def test_a_body_that_its_answer_did_not_wait_for_is_no_next_request(made: House) -> None:
    app = Plain(made)
    visitor = Door(made, app=app).arrive(POST)
    app.given.begin(200, [])
    app.given.send(b"hello", False)
    visitor.transport.receive(b"12345" + GET)
    made.loop.settle()
    assert app.story == ["POST", "closed"]


CHUNKED = b"POST /chat HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_others_have_their_turn_while_many_small_chunks_are_read(made: House) -> None:
    app = Plain(made, hello)
    visitor = Door(made, app=app).arrive(CHUNKED)
    visitor.transport.receive(b"1\r\na\r\n" * (CHUNKS_AT_ONCE + 1))
    assert app._body == b"a" * CHUNKS_AT_ONCE
    assert not visitor.transport.reading
    app.given.read_on()
    assert not visitor.transport.reading, "chunks wait that were read already"
    app.given.data_received(b"0\r\n\r\n" + GET)
    made.loop.settle()
    assert app.story == ["POST", "a" * (CHUNKS_AT_ONCE + 1), "closed", "GET", "", "closed"]
    assert visitor.transport.reading


def test_chunks_that_wait_are_dropped_with_their_client(made: House) -> None:
    app = Plain(made)
    visitor = Door(made, app=app).arrive(CHUNKED)
    visitor.transport.receive(b"1\r\na\r\n" * (CHUNKS_AT_ONCE + 1))
    visitor.transport.lose()
    made.loop.settle()
    assert app._body == b"a" * CHUNKS_AT_ONCE


@pytest.mark.parametrize(("body", "line"), [(b"hello", "content-length: 5\r\n"), (b"", "")])
def test_a_head_has_the_length_of_the_body_if_the_app_gives_one(made: House, body: bytes, line: str) -> None:
    app = Plain(made)
    visitor = Door(made, app=app).arrive(GET.replace(b"GET", b"HEAD", 1))
    app.given.begin(200, [])
    app.given.send(body, False)
    assert visitor.answer.endswith("\r\n\r\n")
    assert "".join(each + "\r\n" for each in visitor.answer.split("\r\n") if each.startswith("content-length")) == line


@pytest.mark.parametrize("size", [65_536, 1, 0])
def test_an_answer_without_end_leaves_others_their_turn(made: House, size: int) -> None:
    app = Plain(made)
    visitor = Door(made, app=app).arrive(GET)
    app.given.begin(200, [])
    turns = 0

    async def stream() -> None:
        nonlocal turns
        made.loop.call_soon(visitor.transport.lose)
        for _ in range(200):
            waiting = app.given.send(b"x" * size, True)
            if waiting is not None:
                turns += 1
                await waiting

    task = made.loop.create_task(stream())
    made.loop.settle()
    assert turns == 1 and app.story[-1] == "closed"
    assert isinstance(task.exception(), ConnectionAbortedError)
