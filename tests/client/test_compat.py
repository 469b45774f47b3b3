"""The names of websocket-client: a program changes one import line. tests/live/test_client_live.py runs them against a server."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from wsdaemon.client import compat
from wsdaemon.client.compat import WebSocketApp, WebSocketConnectionClosedException, WebSocketException, _context, _origin, _proxy


def test_headers_in_all_their_forms() -> None:
    wanted = {"X-A": "1", "Cookie": "a=b", "Host": "h", "Origin": "o"}
    forms: list[Any] = [["X-A: 1"], {"X-A": "1"}, lambda: ["X-A:1"]]
    for header in forms:
        assert WebSocketApp("ws://a/", header=header, cookie="a=b")._headers("h", "o") == wanted
    assert WebSocketApp("ws://a/")._headers(None, None) == {}


def test_the_origin_is_that_of_websocket_client() -> None:
    assert _origin("ws://a.example/x") == "http://a.example"
    assert _origin("wss://a.example:8443/x") == "https://a.example:8443"


def test_sending_without_a_connection_raises() -> None:
    app = WebSocketApp("ws://127.0.0.1:1/")
    with pytest.raises(WebSocketConnectionClosedException):
        app.send("x")
    with pytest.raises(WebSocketConnectionClosedException):
        app.send_bytes(b"x")
    assert app.sock is None
    assert not app.keep_running


@pytest.mark.parametrize(
    "options", [{"ping_interval": 5, "ping_timeout": 5}, {"ping_timeout": 0}, {"ping_timeout": -1}, {"dispatcher": object()}]
)
def test_options_that_contradict_each_other(options: dict[str, Any]) -> None:
    with pytest.raises(WebSocketException):
        WebSocketApp("ws://127.0.0.1:1/").run_forever(**options)


def test_sslopt() -> None:
    assert _context(None) is None
    given = ssl.create_default_context()
    assert _context({"context": given}) is given
    lax, strict = _context({"cert_reqs": ssl.CERT_NONE}), _context({"check_hostname": False})
    assert lax is not None
    assert strict is not None
    assert (lax.verify_mode, lax.check_hostname) == (ssl.CERT_NONE, False)
    assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, False)


def test_proxies() -> None:
    assert _proxy(None, None, None, None, None, "ws://a/") is None
    assert _proxy("p", 3128, None, None, None, "ws://a/") == "http://p:3128"
    assert _proxy("p", "1080", ("u", "p:w"), "socks5h", None, "ws://a/") == "socks5://u:p%3Aw@p:1080"
    assert _proxy("p", 3128, None, None, ["a"], "ws://a/") is None


def test_a_server_that_is_away_is_an_error_and_a_close_without_a_code() -> None:
    told: list[Any] = []
    app = WebSocketApp(
        "ws://127.0.0.1:1/", on_error=lambda ws, error: told.append(type(error).__name__), on_close=lambda ws, *rest: told.append(rest)
    )
    assert app.run_forever() is True
    assert told == ["ConnectFailed", (None, None)]


def test_the_module_has_the_names_that_programs_use() -> None:
    assert compat.ABNF.OPCODE_TEXT == 1
    assert compat.ABNF.OPCODE_BINARY == 2
