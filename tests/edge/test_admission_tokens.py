"""Admission: the parts of a token that apps see, and the end of connections whose token ends. All of it through a gate, on a fake clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from autobahn.websocket.types import ConnectionRequest
from twisted.internet.defer import Deferred

from tests.support.admission import ADA, Answer, Chain, Door, Visitor, Warned
from tests.support.fakes import Frame, House, closing, request, text
from tests.support.mounted_classes import Recording
from wsdaemon.apps.coroutine import CoroutineApp, CoroutineConnection
from wsdaemon.core.connection import Connection
from wsdaemon.edge.auth.contract import Candidate, Identity

EXPIRED = closing(4401, "token expired")
FAILED = closing(1011, "internal error")


def ending(made: House, seconds: float) -> dict[str, Any]:
    """A door's options: every client's token ends `seconds` after it came."""

    def answer(request: Candidate) -> Answer:
        return Identity("ada", "test:way", expires=made.loop.time() + seconds)

    return {"chain": Chain(answer), "now": made.loop.time}


# -- a token in a subprotocol

OFFERS = [
    ("token.abc, chat", ["chat"], "chat"),
    ("chat , token.abc,\tother,token.def", ["chat", "other"], "chat, other"),
    ("token.abc", [], None),
    ("chat", ["chat"], "chat"),
]


@pytest.mark.parametrize(("offered", "left", "header"), OFFERS)
def test_no_app_sees_a_token_that_came_as_a_subprotocol(made: House, offered: str, left: list[str], header: str | None) -> None:
    door = Door(made, chain=Chain(lambda request: ADA))
    door.arrive(request("/chat", x_first="token.abc", sec_websocket_protocol=offered, x_last="2"))
    handshake = door.app.connection.handshake
    assert list(handshake.subprotocols) == left
    assert handshake.headers.get("sec-websocket-protocol") == header
    names = [name for name, _ in handshake.headers.raw]
    assert names.index(b"x-first") < names.index(b"x-last") and handshake.headers["x-first"] == "token.abc"
    if header is not None:
        assert names.index(b"x-first") < names.index(b"sec-websocket-protocol") < names.index(b"x-last")


def test_a_token_on_a_line_of_its_own_takes_the_line_with_it(made: House) -> None:
    door = Door(made, chain=Chain(lambda request: ADA))
    lines = b"Sec-WebSocket-Protocol: chat\r\nSEC-WEBSOCKET-PROTOCOL: token.abc\r\n\r\n"
    door.arrive(request("/chat").removesuffix(b"\r\n") + lines)
    assert door.app.connection.handshake.headers.get_all("sec-websocket-protocol") == ["chat"]


class TakesTheFirst(Recording):
    """As many classes do: whatever the client likes best."""

    def onConnect(self, request: ConnectionRequest) -> Any:
        super().onConnect(request)
        seen.append(self)
        return request.protocols[0] if request.protocols else None


seen: list[Any] = []


@pytest.mark.parametrize(("offered", "left", "header"), OFFERS)
def test_a_mounted_class_neither_sees_nor_answers_a_token_that_came_as_a_subprotocol(
    made: House, offered: str, left: list[str], header: str | None
) -> None:
    seen.clear()
    door = Door(made, mounted=TakesTheFirst, chain=Chain(lambda request: ADA))
    visitor = door.arrive(request("/chat?x=1", sec_websocket_protocol=offered, x_other="y"))
    assert visitor.status == 101 and "token" not in visitor.answer
    assert ("Sec-WebSocket-Protocol: chat\r\n" in visitor.answer) == bool(left)
    [wire] = seen
    assert wire.request.protocols == wire.websocket_protocols == left
    assert wire.request.headers.get("sec-websocket-protocol") == header
    assert b"token" not in wire.http_request_data
    assert (wire.request.path, wire.request.params, wire.request.headers["x-other"]) == ("/chat", {"x": ["1"]}, "y")


def test_a_mounted_class_cannot_choose_a_token(made: House) -> None:
    class Guessing(Recording):
        def onConnect(self, request: ConnectionRequest) -> Any:
            return "token.abc"

    door = Door(made, mounted=Guessing, chain=Chain(lambda request: ADA))
    visitor = door.arrive(request("/chat", sec_websocket_protocol="token.abc, chat"))
    assert visitor.status == 500 and "token" not in visitor.answer


# -- a token that ends before the connection is open


class Thinking(Recording):
    """Its onConnect() answers when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.thought: Deferred[None] = Deferred()
        thinkers.append(self)

    def onConnect(self, request: ConnectionRequest) -> Any:
        return self.thought

    def onExpiring(self, seconds: float) -> None:
        self.events.append(("expiring", round(seconds)))


thinkers: list[Thinking] = []


@pytest.fixture
def think(made: House) -> Iterator[Callable[..., tuple[Door, Visitor, Thinking]]]:
    """A client at a mounted class whose onConnect() has not answered yet."""

    def arrive(seconds: float, **options: Any) -> tuple[Door, Visitor, Thinking]:
        door = Door(made, mounted=Thinking, **ending(made, seconds), **options)
        visitor = door.arrive(request("/chat") + text("early"))
        return door, visitor, thinkers[-1]

    yield arrive
    thinkers.clear()


def test_a_token_that_ends_while_on_connect_thinks(made: House, think: Callable[..., tuple[Door, Visitor, Thinking]]) -> None:
    door, visitor, wire = think(2.0)
    made.loop.advance(5)
    assert visitor.status == 0
    wire.thought.callback(None)
    made.loop.settle()
    assert visitor.status == 101
    assert visitor.frames == [EXPIRED]
    visitor.transport.receive(text("late"))
    made.loop.advance(30)
    assert wire.events == [(False, 4401, "token expired")]
    assert door.count.now == 0 and len(door.wheel) == 0 and visitor.transport.lost


def test_an_on_connect_that_outlasts_the_token_and_never_answers(made: House, think: Callable[..., tuple[Door, Visitor, Thinking]]) -> None:
    door, visitor, wire = think(2.0)
    made.loop.advance(10.2)
    assert visitor.transport.aborted and door.count.now == 0 and len(door.wheel) == 0
    wire.thought.callback(None)
    made.loop.settle()
    assert visitor.answer == "" and wire.events == []


def test_a_token_that_is_good_when_on_connect_answers_ends_later(made: House, think: Callable[..., tuple[Door, Visitor, Thinking]]) -> None:
    _, visitor, wire = think(8.0)
    made.loop.advance(5)
    wire.thought.callback(None)
    made.loop.settle()
    assert visitor.frames == [] and wire.events == ["open", (b"early", False)]
    made.loop.advance(3.2)
    assert visitor.frames == [EXPIRED]


def test_a_warning_that_was_due_while_on_connect_thought_is_not_lost(
    made: House, think: Callable[..., tuple[Door, Visitor, Thinking]]
) -> None:
    _, visitor, wire = think(12.0, expiry_warning=10.0)
    made.loop.advance(5)
    wire.thought.callback(None)
    made.loop.settle()
    assert wire.events == ["open", (b"early", False)]
    made.loop.advance(1.1)
    assert wire.events[2:] == [("expiring", pytest.approx(6, abs=1))]
    made.loop.advance(6.2)
    assert visitor.frames == [EXPIRED] and len(wire.events) == 3


def test_a_token_that_has_ended_when_its_bearer_is_let_in(made: House) -> None:
    door = Door(made, **ending(made, -1.0))
    visitor = door.arrive(request("/chat"))
    made.loop.advance(0.2)
    assert visitor.frames == [EXPIRED]


# -- the warning before the end


class Coroutine:
    """A coroutine app at a door with a warning ten seconds before the token's end, which is after thirty."""

    def __init__(self, made: House, callback: Callable[[CoroutineConnection, float], object] | None) -> None:
        self.made = made

        async def app(connection: CoroutineConnection) -> None:
            if callback is not None:
                connection.on_expiring(lambda seconds: callback(connection, seconds))
            async for message in connection:
                await connection.send(message)

        self.failures: list[tuple[str, str]] = []
        self.app = CoroutineApp(app, self._failed)
        self.door = Door(made, app=self.app, expiry_warning=10.0, **ending(made, 30.0))
        self.visitor = self.door.arrive(request("/chat"))
        made.loop.advance(19)
        assert self.visitor.frames == []
        made.loop.advance(2)

    def _failed(self, connection: Connection, doing: str, error: BaseException) -> None:
        self.failures.append((doing, str(error)))

    def rest(self) -> list[Frame]:
        """The events after the warning."""
        before = len(self.visitor.frames)
        self.made.loop.advance(30)
        assert self.door.count.now == 0 and len(self.door.wheel) == 0 and len(self.made.background) == 0
        return self.visitor.frames[before:]


def _send(connection: CoroutineConnection, seconds: float) -> object:
    return connection.send(str(round(seconds)))


async def _send_later(connection: CoroutineConnection, seconds: float) -> None:
    await asyncio.sleep(1)
    await connection.send(str(round(seconds)))


@pytest.mark.parametrize("callback", [_send, _send_later])
def test_a_coroutine_app_is_told_before_the_token_ends(made: House, callback: Callable[[CoroutineConnection, float], object]) -> None:
    run = Coroutine(made, callback)
    made.loop.advance(1.1)
    assert run.visitor.frames == [Frame(1, b"10")]
    run.visitor.transport.receive(text("goes on"))
    made.loop.settle()
    assert run.visitor.frames[1:] == [Frame(1, b"goes on")]
    assert run.rest() == [EXPIRED]
    assert run.failures == []


def test_a_coroutine_app_that_does_not_ask_is_not_told(made: House) -> None:
    run = Coroutine(made, None)
    assert run.visitor.frames == []
    assert run.rest() == [EXPIRED]


def _raise(connection: CoroutineConnection, seconds: float) -> object:
    raise RuntimeError("not now")


async def _raise_later(connection: CoroutineConnection, seconds: float) -> None:
    raise RuntimeError("not now")


@pytest.mark.parametrize("callback", [_raise, _raise_later])
def test_a_callback_that_fails_is_told_to_the_operator_and_closes(
    made: House, callback: Callable[[CoroutineConnection, float], object]
) -> None:
    run = Coroutine(made, callback)
    failures = [(doing, str(error)) for doing, error in run.door.watcher.failures] + run.failures
    assert failures == [("warning the client", "not now")]
    assert run.visitor.frames == [FAILED]
    assert run.rest() == []


async def _close_and_send(connection: CoroutineConnection, seconds: float) -> None:
    connection.close(4000, "come again")
    connection.send("too late")


def test_a_callback_that_finds_the_connection_closed_has_not_failed(made: House) -> None:
    run = Coroutine(made, _close_and_send)
    assert run.visitor.frames == [closing(4000, "come again")]
    assert run.rest() == []
    assert run.failures == []


def test_the_callback_can_be_replaced_and_is_let_go_in_the_end(made: House) -> None:
    connections: list[CoroutineConnection] = []
    told: list[str] = []

    async def app(connection: CoroutineConnection) -> None:
        connection.on_expiring(lambda seconds: told.append("first"))
        connection.on_expiring(lambda seconds: told.append("second"))
        connections.append(connection)
        await connection.receive()

    door = Door(made, app=CoroutineApp(app, lambda *failure: None), expiry_warning=10.0, **ending(made, 30.0))
    visitor = door.arrive(request("/chat"))
    made.loop.advance(21)
    assert told == ["second"]
    visitor.transport.lose()
    made.loop.settle()
    [connection] = connections
    assert connection._on_warning is None
    connection.on_expiring(lambda seconds: None)
    assert connection._on_warning is None


class Failing(Warned):
    def warned(self, seconds: float) -> None:
        raise RuntimeError("not now")


def test_a_session_that_fails_when_it_is_told(made: House) -> None:
    door = Door(made, app=Failing(), expiry_warning=10.0, **ending(made, 30.0))
    visitor = door.arrive(request("/chat"))
    made.loop.advance(21)
    assert [(doing, str(error)) for doing, error in door.watcher.failures] == [("warning the client", "not now")]
    assert visitor.frames == [FAILED]


def test_a_session_is_not_told_once_its_connection_closes(made: House) -> None:
    door = Door(made, app=Failing(), expiry_warning=10.0, **ending(made, 30.0))
    visitor = door.arrive(request("/chat"))
    made.loop.advance(19)
    door.app.connection.close(4000, "bye")
    made.loop.advance(3)
    assert door.watcher.failures == []
    assert visitor.frames == [closing(4000, "bye")]


class Told(Recording):
    def onExpiring(self, seconds: float) -> Awaitable[None] | None:
        self.sendMessage(str(round(seconds)).encode())
        return None


class ToldLater(Recording):
    async def onExpiring(self, seconds: float) -> None:
        await asyncio.sleep(0.5)
        self.sendMessage(str(round(seconds)).encode())


class FailsWhenTold(Recording):
    def onExpiring(self, seconds: float) -> None:
        raise RuntimeError("not now")


class FailsLater(Recording):
    async def onExpiring(self, seconds: float) -> None:
        raise RuntimeError("not now")


@pytest.mark.parametrize(
    ("mounted", "frames"),
    [
        (Recording, []),
        (Told, [Frame(1, b"10")]),
        (ToldLater, [Frame(1, b"10")]),
        (FailsWhenTold, [FAILED]),
        (FailsLater, [FAILED]),
    ],
)
def test_a_mounted_class_is_told_before_the_token_ends(made: House, mounted: type[Any], frames: list[Frame]) -> None:
    door = Door(made, mounted=mounted, expiry_warning=10.0, **ending(made, 30.0))
    visitor = door.arrive(request("/chat"))
    made.loop.advance(19)
    assert visitor.frames == []
    made.loop.advance(2)
    assert visitor.frames == frames
    failed = frames == [FAILED]
    assert [(doing, str(error)) for doing, error in door.watcher.failures] == [("warning the client", "not now")] * failed
    made.loop.advance(30)
    assert visitor.frames[len(frames) :] == ([] if failed else [EXPIRED])
