"""wire/abandoned.py: work of the user's code whose client has left. tests/apps/test_coroutine.py has coroutine apps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.internet.defer import Deferred

from tests.support.fakes import App, House, close, house, text
from wsdaemon.core.connection import Connection


@pytest.fixture
def made() -> Iterator[House]:
    with house() as made:
        yield made


class Endings:
    """Writes down how coroutines end."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def wait(self, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise
        self.seen.append("finished")


@pytest.mark.parametrize(("on_disconnect", "ending"), [("cancel", "cancelled"), ("finish", "finished")])
@pytest.mark.parametrize("on_message", ["concurrent", "in_order"])
def test_a_coroutine_of_a_mounted_class(made: House, on_message: str, on_disconnect: str, ending: str) -> None:
    endings = Endings()

    class Mounted(WebSocketServerProtocol):
        async def onMessage(self, payload: bytes, isBinary: bool) -> None:
            await endings.wait(1000)

    client = made.make_wire(mounted=Mounted, on_message=on_message, on_disconnect=on_disconnect)
    client.send(text("x"))
    client.vanish()
    made.loop.advance(4.9)
    assert endings.seen == []
    made.loop.advance(1000)
    assert endings.seen == [ending]
    assert len(made.background) == 0


def test_a_closing_callback_is_not_abandoned(made: House) -> None:
    """It begins with the end of its client, to save what the client did."""
    endings = Endings()

    class Mounted(WebSocketServerProtocol):
        async def onClose(self, wasClean: bool, code: int, reason: str) -> None:
            await endings.wait(60)

    client = made.make_wire(mounted=Mounted)
    client.send(close(1000))
    made.loop.advance(59)
    assert len(made.background) == 1
    made.loop.advance(2)
    assert endings.seen == ["finished"]


def test_a_deferred_of_a_closing_callback_is_waited_for_at_a_stop(made: House) -> None:
    deferred: Deferred[str] = Deferred()

    class Mounted(WebSocketServerProtocol):
        def onClose(self, wasClean: bool, code: int, reason: str) -> Deferred[str]:
            return deferred

    made.make_wire(mounted=Mounted).vanish()
    assert len(made.background) == 1
    results: list[str] = []
    deferred.callback("saved")
    deferred.addCallback(results.append)
    made.loop.settle()
    assert results == ["saved"]
    assert len(made.background) == 0


def test_a_future_of_the_app_is_never_cancelled(made: House) -> None:
    """Other connections may wait for the same one."""
    future: asyncio.Future[None] = made.loop.create_future()
    app = App(lambda connection, message: future)
    clients = [made.make_wire(app) for _ in range(2)]
    for client in clients:
        client.send(text("x"))
    clients[0].vanish()
    made.loop.advance(100)
    assert not future.done()
    future.set_result(None)
    made.loop.settle()
    assert len(made.background) == 0


def test_a_coroutine_of_a_session(made: House) -> None:
    endings = Endings()

    def received(connection: Connection, message: Any) -> Any:
        return endings.wait(1000)

    app = App(received)
    client = made.make_wire(app)
    client.send(text("x"))
    client.vanish()
    assert app.ends == [], "the session is closed last"
    made.loop.advance(5.1)
    assert endings.seen == ["cancelled"]
    assert app.ends == [(1006, "connection lost without a Close frame")]
