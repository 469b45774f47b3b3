"""apps.py: from the app of a mount to the object that serves."""

from __future__ import annotations

from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol

from wsdaemon.apps.coroutine import CoroutineApp
from wsdaemon.apps.echo import EchoApp
from wsdaemon.apps.loading import LoadError, load
from wsdaemon.apps.rooms import RoomsApp
from wsdaemon.apps.ticker import TickerApp
from wsdaemon.core.connection import Connection
from wsdaemon.daemon.apps import load_app
from wsdaemon.settings.apps import APP_OPTIONS, BUILT_IN, TickerOptions
from wsdaemon.settings.model import MountSettings


def failed(connection: Connection, doing: str, error: BaseException) -> None: ...


def loaded(app: Any, **values: Any) -> Any:
    return load_app(MountSettings(path="/x", app=app, **values), failed)


class Chat(WebSocketServerProtocol):  # type: ignore[misc]
    """A user's Autobahn class."""


class Asked:
    """An app that would notice if it were started or opened."""

    def open(self, connection: object, handshake: object) -> None:
        raise AssertionError

    async def start(self) -> None:
        raise AssertionError

    async def stop(self) -> None:
        raise AssertionError


async def chat(connection: object) -> None: ...


def test_every_built_in_has_one_row_with_its_options_and_its_maker() -> None:
    assert list(APP_OPTIONS) == list(BUILT_IN) == ["echo", "ticker", "rooms"]
    for name, row in BUILT_IN.items():
        assert callable(load(row.maker)), name


def test_built_in_apps() -> None:
    assert isinstance(loaded("echo").app, EchoApp)
    assert isinstance(loaded("ticker", options=TickerOptions(interval=0.5)).app, TickerApp)
    assert isinstance(loaded("rooms").app, RoomsApp)


def test_the_users_own_code() -> None:
    assert isinstance(loaded(chat).app, CoroutineApp)
    assert isinstance(loaded(f"{__name__}:chat").app, CoroutineApp)
    assert isinstance(loaded(Asked).app, Asked)
    assert (loaded(Chat).app, loaded(Chat).protocol) == (None, Chat)


def test_a_policy_that_cannot_be_made_names_its_key() -> None:
    from wsdaemon.settings.rooms import RoomsOptions

    with pytest.raises(LoadError) as raised:
        loaded("rooms", options=RoomsOptions(policy="nowhere:Policy"))
    assert (raised.value.key, raised.value.reference) == ("policy", "nowhere:Policy")
    assert raised.value.message.startswith("there is no module nowhere")
