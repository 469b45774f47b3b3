"""apps/asgi/app.py: an application as the app of a mount."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.asgi import Event, Host, Script, echo
from tests.support.fakes import House, request
from wsdaemon.apps.asgi import app as module
from wsdaemon.apps.asgi.app import AsgiApp
from wsdaemon.core.contract import AdmittingApp, HandshakeApp, ServiceApp
from wsdaemon.settings.asgi import AsgiOptions

Receive = Callable[[], Any]
Send = Callable[[Event], Any]


def test_what_it_is(made: House) -> None:
    app = Host(made, echo).app
    assert isinstance(app, AdmittingApp) and isinstance(app, HandshakeApp) and isinstance(app, ServiceApp)
    with pytest.raises(RuntimeError):
        app.open(None, None)  # type: ignore[arg-type]


def test_the_scope_of_a_client(made: House) -> None:
    script = Script()
    visitor = Host(made, script).connect(request("/chat?a=1", sec_websocket_protocol="x, y", cookie="a=b"))
    scope = script.scope
    assert (scope["type"], scope["path"], scope["query_string"], scope["subprotocols"]) == ("websocket", "/chat", b"a=1", ["x", "y"])
    assert [name for name, _ in scope["headers"]] == [
        b"host", b"upgrade", b"connection", b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-protocol", b"cookie",
    ]  # fmt: skip
    assert scope["client"] == ("192.0.2.7", 50123)
    visitor.transport.lose()


def test_each_client_gets_a_copy_of_the_state(made: House) -> None:
    states: list[Event] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"].update(a=123, b=[1])
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        states.append({"a": scope["state"]["a"], "b": list(scope["state"]["b"])})
        scope["state"]["a"] = 456
        scope["state"]["b"].append(2)
        await send({"type": "websocket.close"})

    host = Host(made, app, lifespan="on")
    started = made.loop.create_task(host.app.start())
    made.loop.settle()
    started.result()
    host.connect()
    host.connect()
    assert states == [{"a": 123, "b": [1]}, {"a": 123, "b": [1, 2]}]
    stopped = made.loop.create_task(host.app.stop())
    made.loop.settle()
    stopped.result()


def test_further_mounts_share_the_application_and_its_lifespan(made: House) -> None:
    one = AsgiApp(echo, AsgiOptions(application=echo), "/a", lambda *error: None)
    other = one.beside(AsgiOptions(application=echo), "/b/{rest...}")
    assert other.application is echo and other.lifespan is one.lifespan is not None
    assert one.beside(AsgiOptions(application=echo, lifespan="off"), "/c").lifespan is None


def test_tasks_that_go_on_after_their_client_have_a_bound(made: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LEFT_BEHIND", 3)
    end = made.loop.create_future()

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await asyncio.shield(end)

    host = Host(made, app)
    kept = host.connect()
    for _ in range(3):
        visitor = host.connect()
        assert visitor.status == 101
        visitor.transport.lose()
    assert host.connect().status == 503
    assert host.connect().status == 503
    assert host.lines.lines == [
        "/chat turns clients away, because 3 tasks of its application go on after their clients have gone"
    ], "one line a minute"
    end.set_result(None)
    made.loop.settle()
    assert host.connect().status == 101
    kept.transport.lose()


def test_tasks_of_clients_that_were_never_let_in_are_cancelled_at_the_end(made: House) -> None:
    story: list[str] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            story.append("ended")

    host = Host(made, app)
    host.connect().transport.lose()
    stopped = made.loop.create_task(host.app.stop())
    made.loop.settle()
    assert stopped.done() and story == ["ended"]
