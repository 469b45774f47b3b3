"""The addresses of listeners as the log names them at the start."""

from __future__ import annotations

import pytest

from wsdaemon.daemon.announcement import MAX_LISTED_PATHS, served_urls
from wsdaemon.settings.build import build, section
from wsdaemon.settings.model import ListenerSettings

PATHS = ("/echo", "/ticker", "/rooms/{room}")


def listener(**values: object) -> ListenerSettings:
    mounts = [section(f"mount:{path}", app="echo") for path in PATHS]
    (made,) = build([section("listener:web", **values), *mounts], "x").listeners
    return made


@pytest.mark.parametrize(
    ("values", "port", "expected"),
    [
        ({"address": "tcp:8080:interface=127.0.0.1"}, 8080, "ws://127.0.0.1:8080/echo, /ticker, /rooms/{room}"),
        ({"address": "tcp:0:interface=[::1]"}, 40123, "ws://[::1]:40123/echo, /ticker, /rooms/{room}"),
        ({"address": "tcp:8080"}, 8080, "ws://localhost:8080/echo, /ticker, /rooms/{room}"),
        ({"address": "tcp:8080:interface=0.0.0.0", "mounts": "/ticker"}, 8080, "ws://localhost:8080/ticker"),
        ({"address": "tcp:443", "tls_certificate": "c", "tls_key": "k"}, 443, "wss://localhost:443/echo, /ticker, /rooms/{room}"),
        ({"address": "unix:/run/ws.sock"}, None, "/echo, /ticker, /rooms/{room} on unix:/run/ws.sock:mode=660"),
        ({"address": "systemd:name=ws"}, 8080, "ws://localhost:8080/echo, /ticker, /rooms/{room}"),
    ],
)
def test_the_urls_that_a_listener_serves(values: dict[str, object], port: int | None, expected: str) -> None:
    assert served_urls(listener(**values), port, PATHS) == expected


def test_a_long_list_of_paths_is_cut() -> None:
    paths = [f"/{number}" for number in range(MAX_LISTED_PATHS + 2)]
    assert served_urls(listener(address="tcp:80:interface=127.0.0.1"), 80, paths).endswith(f"/{MAX_LISTED_PATHS - 1} and 2 more")
