"""server.py: what a WebSocketServer refuses at once, and how it is when it does not run. tests/live/test_server_in_python.py runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from wsdaemon import CoroutineConnection, SettingsError, WebSocketServer
from wsdaemon.options import MountOptions, RouteOptions


async def app(connection: CoroutineConnection) -> None:
    """Stands for a user's app."""


def refusal(**options: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        WebSocketServer(**options)
    return str(caught.value).splitlines()


def test_all_problems_are_told_at_once_in_words_of_the_ini_file() -> None:
    lines = refusal(max_mesage="1KiB", ping_interval="soon", drain_timeout=-1, level="loud")
    assert len(lines) == 4
    assert all(line.startswith("WebSocketServer: [") for line in lines)
    joined = "\n".join(lines)
    assert "did you mean max_message?" in joined
    assert "[daemon] drain_timeout = -1" in joined
    assert "[logging] level = loud" in joined


def test_a_limit_of_listeners_and_mounts_is_the_mounts() -> None:
    """So that a route may raise it: the lower of both applies."""
    assert "[defaults] lifetime = soon" in refusal(lifetime="soon")[0]
    assert "[listener:main] handshake_timeout = soon" in refusal(handshake_timeout="soon")[0]


@pytest.mark.parametrize("options", [{"port": 70_000}, {"host": "no such host"}, {"address": "tcp"}])
def test_a_bad_address(options: dict[str, Any]) -> None:
    assert "[listener:main] address = " in refusal(**options)[0]


def test_the_pages_of_the_operator_need_a_token() -> None:
    assert "expected token_file too" in refusal(admin={"metrics_open": True})[0]


def test_a_route_is_refused_where_it_is_written() -> None:
    server = WebSocketServer()
    for path, options in (("chat", {}), ("/chat", {"max_message": "much"}), ("/{", {})):
        with pytest.raises(SettingsError):
            server.route(path, **cast(RouteOptions, options))
        with pytest.raises(SettingsError):
            server.mount(path, app, **cast(MountOptions, options))
    with pytest.raises(SettingsError, match="expected a built-in app"):
        server.mount("/chat", cast(Any, 5))


def test_what_is_no_function_of_a_connection_is_refused_where_it_is_decorated() -> None:
    """Not at the start, and not when the first client comes."""

    def plain(environ: object, start_response: object) -> None:
        """A function of two arguments."""

    server = WebSocketServer()
    with pytest.raises(SettingsError) as refused:
        server.route("/chat")(cast(Any, plain))
    assert "[mount:/chat] app = " in str(refused.value)
    assert "plain: it cannot be called with one argument; expected `def app(connection)`" in str(refused.value)
    server.mount("/chat", app)  # the path is still free


def test_two_routes_for_one_path_are_refused_and_the_first_stays() -> None:
    server = WebSocketServer()
    server.mount("/rooms/{room}", "rooms")
    with pytest.raises(SettingsError):
        server.mount("/rooms/{name}", "rooms")
    server.mount("/other", "echo")


def test_a_decorated_function_stays_what_it_was() -> None:
    assert WebSocketServer().route("/chat")(app) is app


def test_a_page_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        WebSocketServer().page("/", tmp_path / "missing.html")


def test_a_server_that_does_not_run() -> None:
    server = WebSocketServer()
    server.mount("/rooms/{room}", "rooms")
    assert server.ws is server
    assert server.connections == []
    server.stop()  # does nothing
    for ask in (lambda: server.rooms, lambda: server.rooms_at("/rooms/{room}"), lambda: server.port, server.close_all):
        with pytest.raises(RuntimeError, match="the server does not run"):
            ask()


def test_with_workers_an_app_needs_a_name() -> None:
    server = WebSocketServer(port=0, workers=2)

    async def app(connection: CoroutineConnection) -> None:
        raise AssertionError

    with pytest.raises(SettingsError, match='with workers expected "module:name" of a module that can be imported'):
        server.mount("/", app)
    with pytest.raises(SettingsError, match="app = __main__:app: with workers expected"):
        server.mount("/", "__main__:app")
    server.mount("/", "echo")


def test_workers_are_no_threads() -> None:
    server = WebSocketServer(port=0, workers=2)
    server.mount("/", "echo")
    with pytest.raises(RuntimeError, match="serve with run_forever"):
        server.start()
