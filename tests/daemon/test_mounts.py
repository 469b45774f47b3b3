"""mounts.py: from a mount's settings to what serves it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol

from tests.support.fakes import PYTHON, Client, Frame, House, Watcher, request, text
from wsdaemon.apps.coroutine import CoroutineApp, CoroutineConnection
from wsdaemon.apps.echo import EchoApp
from wsdaemon.apps.loading import LoadError
from wsdaemon.apps.ticker import TickerApp
from wsdaemon.daemon.apps import load_app
from wsdaemon.daemon.mounts import Mount, MountMaker
from wsdaemon.settings.apps import TickerOptions
from wsdaemon.settings.model import MountSettings
from wsdaemon.wire.deflate.negotiation import negotiate
from wsdaemon.wire.policy import WirePolicy
from wsdaemon.wire.turns import Turns
from wsdaemon.wire.writer import make_flusher


async def chat(connection: CoroutineConnection) -> None:
    async for message in connection:
        connection.send(message)


class Mounted(WebSocketServerProtocol):  # type: ignore[misc]
    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.sendMessage(payload, isBinary)


class OwnApp(EchoApp):
    """A class of the user's with open(connection, handshake)."""


def settings(app: Any, **values: Any) -> MountSettings:
    return MountSettings(path="/chat", app=app, **values)


def mount(made: House, app: Any, **values: Any) -> Mount:
    watcher = Watcher()
    maker = MountMaker(
        watcher=watcher, wheel=made.wheel(), flusher=make_flusher(made.loop.call_soon, now=lambda: 0.0),
        turns=Turns(made.loop.call_soon, now=lambda: 0.0), frames=PYTHON, fast=True, next_id=lambda: "x-1",
        reactor=object(), calls=made.calls, background=made.background, broadcast=made.broadcast,
    )  # fmt: skip
    chosen = settings(app, **values)
    return maker.make(chosen, load_app(chosen, watcher.app_failed))


def connect(made: House, mounted: Mount, **headers: str) -> Client:
    wires = mounted.wires
    wires.protocols.prepare()
    return Client(made.loop, wires, Watcher(), wires.policy.wheel, request("/chat", **headers), -1)


def test_built_in_apps(made: House) -> None:
    assert isinstance(mount(made, "echo").app, EchoApp)
    ticker = mount(made, "ticker", options=TickerOptions(interval=0.5)).app
    assert isinstance(ticker, TickerApp)


@pytest.mark.parametrize("app", [chat, f"{__name__}:chat", OwnApp, OwnApp(), Mounted, f"{__name__}:Mounted"])
def test_whatever_is_mounted_serves(made: House, app: Any) -> None:
    client = connect(made, mount(made, app))
    client.send(text("x"))
    made.loop.settle()
    assert client.frames() == [Frame(1, b"x")]


def test_what_becomes_of_each(made: House) -> None:
    assert isinstance(mount(made, chat).app, CoroutineApp)
    app = OwnApp()
    assert mount(made, app).app is app
    assert mount(made, Mounted).app is None
    assert mount(made, Mounted).wires.protocols.mounted is Mounted


def test_what_cannot_be_loaded(made: House) -> None:
    with pytest.raises(LoadError, match="there is no module nowhere"):
        mount(made, "nowhere:chat")
    with pytest.raises(LoadError, match="int is not an app"):
        mount(made, 5)


def test_failures_of_a_coroutine_go_to_the_watcher(made: House) -> None:
    watcher = Watcher()
    app = load_app(settings(chat), watcher.app_failed).app
    assert app.failed == watcher.app_failed


def test_the_settings_reach_the_wire(made: House) -> None:
    """As the very object that was read: the wire has no defaults of its own that could drift."""
    mounted = mount(made, "echo", max_connections=5, subprotocols=("one", "two"))
    policy = mounted.wires.policy
    assert policy.settings is mounted.settings
    assert policy.subprotocols == ("one", "two")
    assert {field.name for field in fields(WirePolicy)} & {field.name for field in fields(MountSettings)} == {"app", "subprotocols"}
    assert mounted.count.most == 5
    assert mounted.path == "/chat"


def test_compression(made: House) -> None:
    offered = {"sec_websocket_extensions": "permessage-deflate; client_max_window_bits"}
    assert "permessage-deflate" in connect(made, mount(made, "echo"), **offered).head
    assert "permessage-deflate" not in connect(made, mount(made, "echo", compression=False), **offered).head
    deflate = mount(
        made, "echo", compression_level=1, compression_window_bits=9, compression_memory_level=1, compression_threshold=7,
        compression_server_context_takeover=False, compression_client_context_takeover=False,
    ).wires.policy.deflate  # fmt: skip
    assert deflate is not None
    assert (deflate.level, deflate.window_bits, deflate.memory_level, deflate.threshold) == (1, 9, 1, 7)
    assert not deflate.server_context_takeover
    assert not deflate.client_context_takeover


def test_by_default_no_client_has_to_forget_its_window(made: House) -> None:
    """Tornado 6.6 overlooks `client_no_context_takeover`, and its second message would refer to bytes that were forgotten here."""
    deflate = mount(made, "echo").wires.policy.deflate
    assert deflate is not None
    agreed = negotiate("permessage-deflate; client_max_window_bits", deflate)
    assert agreed is not None
    assert agreed[1] == "permessage-deflate; server_max_window_bits=11; client_max_window_bits=11"
