"""daemon/apps.py: from the app of a mount to the object that serves."""

from __future__ import annotations

from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol

from wsdaemon.apps.coroutine import CoroutineApp, CoroutineConnection
from wsdaemon.apps.echo import EchoApp
from wsdaemon.apps.function import FunctionApp
from wsdaemon.apps.loading import LoadError, load
from wsdaemon.apps.rooms import RoomsApp
from wsdaemon.apps.ticker import TickerApp
from wsdaemon.core.blocking import BlockingConnection
from wsdaemon.core.connection import Connection
from wsdaemon.daemon.apps import LoadedApp, load_app
from wsdaemon.settings.apps import APP_OPTIONS, BUILT_IN
from wsdaemon.settings.build import build, section
from wsdaemon.settings.model import MountSettings


def mount(app: object, **options: object) -> MountSettings:
    return build([section("listener:a", address="tcp:0"), section("mount:/m", app=app, **options)], "test").mounts[0]


def made(app: object, **options: object) -> LoadedApp:
    return load_app(mount(app, **options), lambda connection, doing, error: None)


async def coroutine(connection: CoroutineConnection) -> None:
    """Stands for a user's coroutine."""


def plain(connection: BlockingConnection) -> None:
    """Stands for a user's function."""


class Class:
    def open(self, connection: Connection, handshake: Any) -> Any: ...


class Failing:
    def __init__(self) -> None:
        raise ValueError("no database")

    def open(self, connection: Connection, handshake: Any) -> Any: ...


class Protocol(WebSocketServerProtocol):  # type: ignore[misc]
    """Stands for a user's Autobahn class."""


@pytest.mark.parametrize(("name", "kind"), [("echo", EchoApp), ("ticker", TickerApp), ("rooms", RoomsApp)])
def test_a_built_in_app_by_its_name(name: str, kind: type) -> None:
    loaded = made(name)
    assert isinstance(loaded.app, kind)
    assert loaded.protocol is None


def test_functions_a_class_and_an_object() -> None:
    assert isinstance(made(coroutine).app, CoroutineApp)
    assert made(coroutine).app.function is coroutine
    assert isinstance(made(plain).app, FunctionApp)
    assert made(plain).app.function is plain
    assert isinstance(made(Class).app, Class)
    ready = Class()
    assert made(ready).app is ready


@pytest.mark.parametrize(("name", "kind"), [("coroutine", CoroutineApp), ("plain", FunctionApp), ("Class", Class)])
def test_the_same_by_name(name: str, kind: type) -> None:
    assert isinstance(made(f"{__name__}:{name}").app, kind)


def test_an_autobahn_class_is_no_app() -> None:
    loaded = made(Protocol)
    assert loaded.app is None
    assert loaded.protocol is Protocol


@pytest.mark.parametrize(
    ("app", "message"),
    [("nowhere:app", "there is no module nowhere"), (f"{__name__}:Missing", "there is no Missing"), (Failing, "no database")],
)
def test_what_cannot_be_loaded_is_told_with_its_reason(app: object, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        made(app)


def test_every_built_in_has_one_row_with_its_options_and_its_maker() -> None:
    assert list(APP_OPTIONS) == list(BUILT_IN)
    for name, row in BUILT_IN.items():
        assert callable(load(row.maker)), name


def test_a_policy_that_cannot_be_made_names_its_key() -> None:
    with pytest.raises(LoadError) as raised:
        made("rooms", policy="nowhere:Policy")
    assert (raised.value.key, raised.value.reference) == ("policy", "nowhere:Policy")
    assert raised.value.message.startswith("there is no module nowhere")
