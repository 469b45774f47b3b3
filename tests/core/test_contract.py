"""core/contract.py: what an app and a session have besides is known by its Protocol."""

from __future__ import annotations

from typing import Any

import pytest

from wsdaemon.apps.coroutine import CoroutineApp, CoroutineConnection
from wsdaemon.apps.echo import EchoApp
from wsdaemon.apps.ticker import TickerApp
from wsdaemon.core.connection import Connection
from wsdaemon.core.contract import (
    Acceptance,
    AdmittingApp,
    ConnectionClassApp,
    ExpiringSession,
    HandshakeApp,
    PayloadSession,
    ServiceApp,
    SubprotocolsApp,
    open_session,
)
from wsdaemon.core.handshake import Handshake

MORE = (ServiceApp, SubprotocolsApp, HandshakeApp, ConnectionClassApp, AdmittingApp)


class Plain:
    def open(self, connection: Connection, handshake: Handshake) -> PlainSession:
        return PlainSession()


class PlainSession:
    def received(self, message: str | bytes) -> None: ...

    def closed(self, code: int, reason: str) -> None: ...


class Full(Plain):
    subprotocols = ("chat.v1",)
    keeps_handshake = True
    connection_class = Connection

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def admit(self, handshake: Handshake) -> Acceptance | None: ...


class FullSession(PlainSession):
    def received_payload(self, payload: bytes, text: bool) -> None: ...

    def expiring(self, seconds: float) -> None: ...


def test_an_app_that_has_open_alone() -> None:
    assert [kind for kind in MORE if isinstance(Plain(), kind)] == []
    assert [kind for kind in (PayloadSession, ExpiringSession) if isinstance(PlainSession(), kind)] == []


def test_an_app_that_has_everything() -> None:
    assert [kind for kind in MORE if isinstance(Full(), kind)] == list(MORE)
    assert isinstance(FullSession(), PayloadSession)
    assert isinstance(FullSession(), ExpiringSession)


@pytest.mark.parametrize("name", ["start", "stop"])
def test_an_app_with_half_of_a_service_is_none(name: str) -> None:
    async def work(self: object) -> None: ...

    assert not isinstance(type("Half", (Plain,), {name: work})(), ServiceApp)


def test_what_the_built_in_apps_have() -> None:
    async def function(connection: CoroutineConnection) -> None: ...

    coroutine = CoroutineApp(function, lambda connection, doing, error: None)
    assert not isinstance(coroutine, ServiceApp), "the drain finishes its coroutines"
    assert isinstance(coroutine, ConnectionClassApp) and coroutine.connection_class is CoroutineConnection
    for app in (EchoApp(), TickerApp(1.0)):
        assert isinstance(app, HandshakeApp) and not app.keeps_handshake


# -- the session of a new connection


class Opens:
    def __init__(self, session: Any) -> None:
        self.session = session

    def open(self, connection: object, handshake: object) -> Any:
        return self.session


def opened(session: object) -> object:
    nothing: Any = None
    return open_session(Opens(session), nothing, nothing)


@pytest.mark.parametrize("session", [PlainSession(), FullSession()])
def test_a_session_of_either_kind(session: object) -> None:
    assert opened(session) is session


@pytest.mark.parametrize("session", [None, 5, "session"])
def test_what_is_no_session_is_said_in_full(session: object) -> None:
    with pytest.raises(TypeError) as raised:
        opened(session)
    assert str(raised.value) == f"Opens.open() returned {session!r}; expected a session with received() and closed()"
