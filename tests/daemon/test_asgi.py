"""daemon/asgi.py: from a mount's settings to the app asgi."""

from __future__ import annotations

from typing import Any

import pytest

from tests.daemon.test_apps import made, mount
from wsdaemon.apps.asgi.app import AsgiApp
from wsdaemon.apps.echo import EchoApp
from wsdaemon.apps.loading import LoadError
from wsdaemon.core.connection import Connection
from wsdaemon.daemon.apps import load_app


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Stands for a user's ASGI application."""


def test_an_asgi_application() -> None:
    loaded = made("asgi", application=application, lifespan="off")
    assert isinstance(loaded.app, AsgiApp)
    assert loaded.app.application is application
    assert loaded.app.lifespan is None
    with pytest.raises(LoadError) as raised:
        made("asgi", application="no_such_module_here:app")
    assert raised.value.key == "application"


def test_a_further_mount_of_an_asgi_application_shares_it() -> None:
    def failed(connection: Connection, doing: str, error: BaseException) -> None: ...

    earlier = [made("echo"), made("asgi", application=application)]
    one = earlier[1].app
    other = load_app(mount("asgi", application=application), failed, earlier=earlier).app
    assert other is not one and other.lifespan is one.lifespan
    another = load_app(mount("asgi", application=lambda scope, receive, send: None), failed, earlier=earlier).app
    assert another.lifespan is not one.lifespan
    assert isinstance(load_app(mount("echo"), failed, earlier=earlier).app, EchoApp)


def test_http_needs_h11(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made("asgi", application=application, http=True).app.answers_plain
    monkeypatch.setattr("wsdaemon.daemon.asgi.find_spec", lambda name: None)
    assert not made("asgi", application=application).app.answers_plain
    with pytest.raises(LoadError, match="h11 is missing") as raised:
        made("asgi", application=application, http=True)
    assert raised.value.key == "http"
